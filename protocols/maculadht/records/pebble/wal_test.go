package pebble

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// logged is a store of whose records each was synced on its own, as a kill leaves it, and
// the name and content of its log.
func logged(t *testing.T, size int) (dir, name string, log []byte) {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live")
	s := open(t, live)
	m := newManager(t, s)
	for i := range uint64(40) {
		require.NoError(t, m.Store(t.Context(), records.Put{Key: number(i), Value: make([]byte, size), TTL: time.Hour, Synced: true}))
	}
	dir = killed(t, live)
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	name = names[len(names)-1]
	log, err = os.ReadFile(name)
	require.NoError(t, err)
	return dir, name, log
}

// keysOf opens a copy of a store whose log is another, or that has none, and returns how many keys it has.
func keysOf(t *testing.T, dir, name string, log []byte) (int64, error) {
	t.Helper()
	again := filepath.Join(t.TempDir(), "again")
	require.NoError(t, os.CopyFS(again, os.DirFS(dir)))
	if log == nil {
		all, err := filepath.Glob(filepath.Join(again, "*.log")) // some are kept to be used again
		require.NoError(t, err)
		for _, name := range all {
			require.NoError(t, os.Remove(name))
		}
	} else {
		require.NoError(t, os.WriteFile(filepath.Join(again, filepath.Base(name)), log, 0o600))
	}
	s, err := Open(again, us)
	if err != nil {
		return 0, err
	}
	usage, err := s.Usage(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return usage.Keys, nil
}

// Of what was synced nothing is lost in silence: only the end of a log may be one that a
// power cut has left.
func TestDamagedLog(t *testing.T) {
	for _, size := range []int{10, 3000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir, name, log := logged(t, size)
			n, err := keysOf(t, dir, name, log)
			require.NoError(t, err)
			require.EqualValues(t, 40, n)
			_, err = keysOf(t, dir, name, nil)
			require.ErrorIs(t, err, ErrCorrupt)

			written := len(log)
			for written > 0 && log[written-1] == 0 {
				written--
			}
			missed := 0
			const places = 30
			for i := range places {
				at := i * written / places
				flipped := append([]byte(nil), log...)
				flipped[at] ^= 0x40
				n, err := keysOf(t, dir, name, flipped)
				switch {
				case err != nil:
					require.ErrorIs(t, err, ErrCorrupt, "byte %d of %d", at, written)
					require.ErrorContains(t, err, filepath.Base(name))
				case n < 39:
					t.Logf("byte %d of %d: %d keys", at, written, n)
					missed++
				}
			}
			require.LessOrEqual(t, missed, places/10, "of a chunk's header")
		})
	}
}
