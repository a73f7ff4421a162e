package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/notice"
)

// said gathers what is logged above debug.
type said struct {
	slog.Handler
	lines *[]slog.Record
}

func (s said) Enabled(_ context.Context, l slog.Level) bool { return l > slog.LevelDebug }

func (s said) Handle(_ context.Context, r slog.Record) error {
	*s.lines = append(*s.lines, r)
	return nil
}

// A disk that fails and works by turns is logged once a minute, with how often it failed.
func TestFlappingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Bool
		disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if fails.Load() && isSync(op) {
				return syscall.EIO
			}
			return nil
		}))
		var lines []slog.Record
		s, err := Open("store", us, WithFS(disk), WithLogger(slog.New(said{slog.DiscardHandler, &lines})))
		require.NoError(t, err)
		failures := 0
		for range 40 { // some 4 minutes
			fails.Store(true)
			require.ErrorIs(t, set(s, "k", records.Synced, rec("v", time.Hour)), syscall.EIO)
			failures++
			fails.Store(false)
			time.Sleep(6 * time.Second)
			require.NoError(t, s.Failing())
		}
		require.NoError(t, s.Close())
		errors, infos, counted := 0, 0, 0
		var last time.Time
		for i, line := range lines {
			if line.Level < slog.LevelError {
				infos++
				continue
			}
			errors++
			times := 1
			line.Attrs(func(a slog.Attr) bool {
				if a.Key == "times" {
					_, err := fmt.Sscan(a.Value.String(), &times)
					require.NoError(t, err)
				}
				return true
			})
			counted += times
			if i < len(lines)-1 { // the last one is at the end
				require.GreaterOrEqual(t, line.Time.Sub(last), notice.Every)
			}
			last = line.Time
		}
		require.Equal(t, failures, counted, "%v", lines)
		require.LessOrEqual(t, errors, 6)
		require.LessOrEqual(t, infos, errors)
	})
}
