package pebble

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// What the manager accounts is what there is, though the disk fails under many puts at
// once; and callers can tell a disk from a rule.
func TestManagerOverAFailingDisk(t *testing.T) {
	disk := newFaultyDisk(vfs.NewMem(), syscall.EIO)
	s, err := Open("store", us, WithFS(disk), often)
	require.NoError(t, err)
	m, err := records.New(records.WithStore(s), records.WithSweepInterval(time.Hour))
	require.NoError(t, err)
	exact := func(m *records.Manager) {
		t.Helper()
		usage, err := s.Usage(t.Context())
		require.NoError(t, err)
		var want records.SourceUsage
		for _, u := range usage.Sources {
			want.Records += u.Records
			want.Bytes += u.Bytes + u.Records*records.RecordOverhead
		}
		stats := m.Stats()
		require.Equal(t, want, records.SourceUsage{Records: stats.Records, Bytes: stats.Bytes})
		require.Equal(t, usage.Keys, stats.Keys)
	}
	puts := func(value string) (kept, failed int) {
		const n = 200
		errs := make(chan error, n)
		for i := range n {
			m.StoreThen(t.Context(), records.Put{
				Key: fmt.Append(nil, i%50), NodeID: fmt.Append(nil, i%7), Value: []byte(value), Synced: i%2 == 0,
				Source: records.Source{Name: fmt.Sprint(i % 3), Group: "g"},
			}, func(err error) { errs <- err })
		}
		for range n {
			switch err := <-errs; {
			case err == nil:
				kept++
			default:
				require.ErrorIs(t, err, records.ErrStoreFailed)
				require.ErrorIs(t, err, syscall.EIO)
				failed++
			}
		}
		return kept, failed
	}
	_, failed := puts("first")
	require.Zero(t, failed)
	exact(m)
	disk.lasting.Store(true)
	disk.at.Store(disk.count.Load() + 2)
	_, failed = puts("longer, second")
	require.Positive(t, failed)
	exact(m)
	require.ErrorIs(t, m.Failing(), syscall.EIO)
	disk.mend()
	recovered(t, s)
	require.NoError(t, m.Failing())
	_, failed = puts("third")
	require.Zero(t, failed)
	exact(m)
	before := m.Stats()
	require.NoError(t, m.Close())

	s, err = Open("store", us, WithFS(disk))
	require.NoError(t, err)
	m, err = records.New(records.WithStore(s))
	require.NoError(t, err)
	defer m.Close()
	exact(m)
	require.Equal(t, before.Records, m.Stats().Records)
	require.Equal(t, before.Bytes, m.Stats().Bytes)
}
