package journal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

// FuzzNote: whatever names there are in a directory, one is a note or none, and what one
// notes it notes again.
func FuzzNote(f *testing.F) {
	for _, name := range []string{"SYNCED_1", "SYNCED_18446744073709551615_000002.log=4096_MANIFEST-000001=77", "SYNCED_1_x=9223372036854775807", "SYNCED", "SYNCED_", "SYNCED_1__=1", "SYNCED_1_a=-1", "000001.log"} {
		f.Add(name, "000003.log", uint64(3))
	}
	f.Fuzz(func(t *testing.T, name, other string, newest uint64) {
		n, ok := parseNote(name)
		last := lastNote([]string{other, name})
		if ok {
			require.GreaterOrEqual(t, last.number, n.number)
			for _, synced := range n.synced {
				require.GreaterOrEqual(t, synced, int64(0))
			}
			if len(n.synced) <= notedFiles {
				again, ok := parseNote(n.name())
				require.True(t, ok, n.name())
				require.Equal(t, n, again)
			}
		}
		if missing := last.missing(map[string]bool{other: true}, newest); missing != "" {
			require.Contains(t, last.synced, missing)
			require.NotEqual(t, other, missing)
		}
	})
}

// FuzzLog: whatever a log or a manifest holds, it is told where it is damaged, if it is;
// and what is whole is not damaged to who looks for less.
func FuzzLog(f *testing.F) {
	f.Add([]byte{}, uint32(1), uint16(0))
	f.Add(make([]byte, blockBytes+3), uint32(1), uint16(9))
	f.Add([]byte("\x00\x00\x00\x00\x05\x00\x09\x02\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xffhello"), uint32(2), uint16(24))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x05\x02\x00\x00\x00"), uint32(1), uint16(11)) // the end of a closed one
	f.Add([]byte("\xc5\x9a\x34\x1d\x02\x00\x01hi"), uint32(0), uint16(9))
	f.Fuzz(func(t *testing.T, b []byte, number uint32, synced uint16) {
		at, damaged := verify(b, number)
		if damaged {
			require.Less(t, at, len(b))
		}
		if number != 0 {
			of, lacks := damage(b, number)
			require.Less(t, of, max(len(b), 1))
			if lacks {
				require.True(t, damaged, "at %d", of)
			}
		}
		files := vfs.NewMem()
		name := "MANIFEST-000001"
		if number != 0 {
			name = "000001.log"
		}
		w, err := files.Create(name, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		err = checkFile(files, "", name, number, int64(synced))
		if err != nil {
			require.ErrorIs(t, err, label.ErrCorrupt)
		}
		if int(synced) > len(b) {
			require.Error(t, err)
		}
	})
}
