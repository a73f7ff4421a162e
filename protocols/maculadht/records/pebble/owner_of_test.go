package pebble

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

func TestOwnerOf(t *testing.T) {
	dir := t.TempDir()
	_, err := OwnerOf(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	s, err := Open(dir, us)
	require.NoError(t, err)
	defer s.Close()
	owner, err := OwnerOf(dir)
	require.NoError(t, err)
	require.Equal(t, us, owner)

	for name, text := range map[string]string{"no JSON": "{", "no hexadecimal digits": `{"format": 1, "node_id": "me"}`} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, label.File), []byte(text), 0o600))
			_, err := OwnerOf(dir)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, dir)
		})
	}
}
