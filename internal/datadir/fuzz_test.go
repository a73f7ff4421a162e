package datadir

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRunning: whatever running.json holds, it is refused by its name or read, and the same
// when it is written again.
func FuzzRunning(f *testing.F) {
	f.Add([]byte(`{"pid":7,"started":"2026-11-27T01:02:03Z","peer_id":"p","realm":"r","addrs":["/a"],"endpoint":"https://127.0.0.1:1","socket":"/s","bootstrap":["/b"]}`))
	f.Add([]byte(`{"pid":-1e3,"started":"never"}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(``))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(dir, runningFile)
		require.NoError(t, os.WriteFile(name, data, 0o600))
		r, err := readRunning(dir)
		if err != nil {
			require.ErrorContains(t, err, runningFile)
			return
		}
		_ = r.String()
		require.NoError(t, writeRunning(dir, *r))
		again, err := readRunning(dir)
		require.NoError(t, err)
		want, err := json.Marshal(r) // in which an empty list of peers is none, and a zone is by its offset
		require.NoError(t, err)
		got, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	})
}
