package label

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// FuzzLabel: whatever a directory's label says, the store is this owner's or refused for a
// reason that there is a word for.
func FuzzLabel(f *testing.F) {
	owner := Owner{Realm: "r", NodeID: []byte("node")}
	whole, err := json.Marshal(New(owner))
	require.NoError(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)-9])
	for _, l := range []Label{{}, {Format: format + 1}, {Format: format, ID: "00112233445566778899aabbccddeeff", Realm: "r", NodeID: "6e6f6465"}, New(Owner{Realm: "other", NodeID: []byte("node")})} {
		text, err := json.Marshal(l)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(`{"format":1e999}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		files := vfs.NewMem()
		w, err := files.Create(File, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = w.Write(text)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		l, isNew, err := Identify(files, "", owner)
		require.False(t, isNew)
		if err != nil {
			require.True(t, errors.Is(err, ErrForeign) || errors.Is(err, ErrNewer) || errors.Is(err, ErrCorrupt), "%v", err)
			return
		}
		require.Equal(t, owner.Realm, l.Realm)
		require.Len(t, l.StoreID(), 16)
		whose, err := l.Owner("")
		require.NoError(t, err)
		require.Equal(t, owner, whose)
	})
}
