package pebble

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// A store that nobody has open is copied without being written to, whether or not it was
// closed in order.
func TestCopy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	m, err := records.New(records.WithStore(s))
	require.NoError(t, err)
	put := func(key string) {
		t.Helper()
		require.NoError(t, m.Store(t.Context(), records.Put{Key: []byte(key), Value: []byte("v"), TTL: time.Hour, Synced: true}))
	}
	put("flushed")
	require.NoError(t, s.db.Flush())
	put("logged")
	killed := killed(t, dir)
	require.NoError(t, m.Close())

	for name, dir := range map[string]string{"closed": dir, "killed": killed} {
		t.Run(name, func(t *testing.T) {
			files := func() map[string]string {
				all := map[string]string{}
				entries, err := os.ReadDir(dir)
				require.NoError(t, err)
				for _, e := range entries {
					data, err := os.ReadFile(filepath.Join(dir, e.Name()))
					require.NoError(t, err)
					all[e.Name()] = string(data)
				}
				return all
			}
			before := files()
			to := filepath.Join(t.TempDir(), "copy")
			require.NoError(t, Copy(t.Context(), dir, to))
			require.Equal(t, before, files())
			copied := open(t, to)
			defer copied.Close()
			for _, key := range []string{"flushed", "logged"} {
				got, err := copied.Get(t.Context(), []byte(key))
				require.NoError(t, err)
				require.Len(t, got, 1, key)
			}
			require.NotEqual(t, s.ID(), copied.ID(), "it has not what comes after it")
			require.Equal(t, before, files(), "what is written to the copy stays there")
		})
	}

	require.NoError(t, os.WriteFile(filepath.Join(killed, "CURRENT"), []byte("nonsense"), 0o600))
	names, err := filepath.Glob(filepath.Join(killed, "marker.manifest.*"))
	require.NoError(t, err)
	for _, name := range names {
		require.NoError(t, os.Remove(name))
	}
	require.ErrorIs(t, Copy(t.Context(), killed, filepath.Join(t.TempDir(), "copy")), ErrCorrupt)
}
