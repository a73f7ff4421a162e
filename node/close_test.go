package node

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Whatever hangs, the rest is closed, and the end comes in time.
func TestCloseOfWhatHangs(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		takes   []time.Duration // of each part
		within  time.Duration
		late    []string // the parts that have not ended
		isError error
	}{
		"nothing hangs":   {[]time.Duration{0, time.Second, time.Second}, 2 * time.Second, nil, broken},
		"the first hangs": {[]time.Duration{time.Hour, 0, 0}, closeTimeout, []string{"A"}, broken},
		"the last hangs":  {[]time.Duration{0, 0, time.Hour}, closeTimeout, []string{"C"}, ErrNotClosed},
		"all hang":        {[]time.Duration{time.Hour, time.Hour, time.Hour}, closeTimeout + 2*lastChance, []string{"A", "B", "C"}, ErrNotClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var parts []part
				var closed []string
				for i, took := range test.takes {
					name := string(rune('A' + i))
					parts = append(parts, part{name, func() error {
						time.Sleep(took)
						if name == "C" {
							return broken
						}
						return nil
					}})
				}
				began := time.Now()
				err := closeAll(parts, func(part string) { closed = append(closed, part) })
				require.Equal(t, test.within, time.Since(began))
				require.ErrorIs(t, err, test.isError)
				require.Equal(t, len(test.late) > 0, errors.Is(err, ErrNotClosed))
				for _, late := range test.late {
					require.ErrorContains(t, err, late+" "+ErrNotClosed.Error())
				}
				require.Equal(t, []string{"A", "B", "C"}, closed)
				time.Sleep(time.Hour) // until what hangs has ended
			})
		})
	}
}

// A node that is closed makes no backup.
func TestBackupOfAClosedNode(t *testing.T) {
	n, err := New(Config{Key: newKey(t), Listen: []string{onLoopback4}, DataDir: t.TempDir(), Durable: true})
	require.NoError(t, err)
	require.NoError(t, n.Close())
	require.Empty(t, n.Closing())
	_, err = n.Backup(t.Context(), filepath.Join(t.TempDir(), "copy"))
	require.ErrorIs(t, err, proto.ErrClosed)
}
