package pebble

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
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

// A store in which nothing is kept is anybody's again once it is removed; one with records
// or state stays.
func TestRemoveUnused(t *testing.T) {
	keep := map[string]func(t *testing.T, s *Store){
		"nothing": func(*testing.T, *Store) {},
		"a record": func(t *testing.T, s *Store) {
			done := make(chan error, 1)
			recs := []records.Record{{Value: []byte("v"), Expires: time.Now().Add(time.Hour)}}
			s.Update(t.Context(), []byte("k"), records.Soon, func([]records.Record) []records.Record { return recs }, func(err error) { done <- err })
			require.NoError(t, <-done)
		},
		"state": func(t *testing.T, s *Store) {
			require.NoError(t, s.State().Put(t.Context(), []byte("k"), []byte("v")))
		},
	}
	for name, keep := range keep {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			require.NoError(t, RemoveUnused(dir, us), "there is none")
			require.NoDirExists(t, dir)
			s, err := Open(dir, us)
			require.NoError(t, err)
			keep(t, s)
			require.ErrorIs(t, RemoveUnused(dir, us), ErrLocked)
			require.NoError(t, s.Close())
			require.ErrorIs(t, RemoveUnused(dir, Owner{Realm: "another", NodeID: us.NodeID}), ErrForeign)
			require.NoError(t, RemoveUnused(dir, us))
			if name == "nothing" {
				require.NoDirExists(t, dir)
				return
			}
			s, err = Open(dir, us)
			require.NoError(t, err)
			require.NoError(t, s.Close())
		})
	}
}
