package pebble

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/label"
)

var faults = flag.Int("faults", 40, "places at which the disk is made to fail, once and for long")

// faultyDisk is a disk in memory that fails at one operation, or from there on until it
// is mended.
type faultyDisk struct {
	vfs.FS
	count   atomic.Int64
	at      atomic.Int64 // the operation; 0 for none
	lasting atomic.Bool
	err     error
	failed  atomic.Int64
	stall   time.Duration // that it hangs instead
}

func newFaultyDisk(under vfs.FS, err error) *faultyDisk {
	d := &faultyDisk{err: err}
	d.FS = errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpGetDiskUsage || op.Kind == errorfs.OpLock {
			return nil
		}
		n, at := d.count.Add(1), d.at.Load()
		if at == 0 || n < at || n > at && !d.lasting.Load() {
			return nil
		}
		d.failed.Add(1)
		if d.stall > 0 {
			time.Sleep(d.stall)
			return nil
		}
		return fmt.Errorf("operation %d: %w", n, d.err)
	}))
	return d
}

// ReuseForWrite is as that of a hangingDisk.
func (d *faultyDisk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return anew(d.FS, oldname, newname, category)
}

func (d *faultyDisk) mend() { d.at.Store(0) }

// held is what a store was given, as plainly as can be.
type held map[string][]string

func (h held) require(t *testing.T, s *Store) {
	t.Helper()
	for key, want := range h {
		recs, err := s.Get(t.Context(), []byte(key))
		require.NoError(t, err)
		require.Equal(t, append([]string(nil), want...), values(recs), key)
	}
	usage, err := s.Usage(t.Context())
	require.NoError(t, err)
	present := 0
	for _, list := range h {
		present += min(len(list), 1)
	}
	require.EqualValues(t, present, usage.Keys)
}

func values(recs []records.Record) (out []string) {
	for _, r := range recs {
		out = append(out, string(r.Value))
	}
	return out
}

// write has a store make random updates, and notes those that were acknowledged.
func (h held) write(s *Store, rng *rand.Rand, updates, size int) (refused int) {
	for range updates {
		key := fmt.Sprint("key ", rng.IntN(12))
		list := slices.Clone(h[key])
		switch value := fmt.Sprintf("%d %0*d", rng.IntN(1000), size, 0); rng.IntN(4) {
		case 0:
			list = nil
		case 1:
			list = list[:len(list)/2]
		default:
			list = append([]string{value}, list...)
		}
		var recs []records.Record
		for _, value := range list {
			recs = append(recs, rec(value, time.Hour))
		}
		if err := set(s, key, records.Durability(rng.IntN(2)), recs...); err != nil {
			refused++
			continue
		}
		h[key] = list
	}
	return refused
}

// recovered waits until a store can keep something again.
func recovered(t *testing.T, s *Store) {
	t.Helper()
	require.Eventually(t, func() bool { return s.Failing() == nil }, 2*time.Minute, 5*time.Millisecond, "%v", s.Failing())
}

// A disk that fails at any place, once or for a while, loses nothing that was
// acknowledged, and keeps what comes when it works again; so does the next opening.
func TestFailingDisk(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	operations := func() int64 { // of a run in which nothing fails
		disk := newFaultyDisk(vfs.NewMem(), syscall.EIO)
		runFailing(t, disk, seed, false)
		return disk.count.Load()
	}()
	for i := range *faults {
		at := 1 + int64(i)*operations/int64(*faults)
		lasting := i%2 == 1
		disk := newFaultyDisk(vfs.NewMem(), syscall.EIO)
		disk.at.Store(at)
		disk.lasting.Store(lasting)
		name := fmt.Sprintf("operation %d of %d, lasting %v, seed %d", at, operations, lasting, seed)
		if !t.Run(name, func(t *testing.T) { runFailing(t, disk, seed, true) }) {
			return
		}
	}
	t.Logf("%d places, seed %d: none lost, none false", *faults, seed)
}

func runFailing(t *testing.T, disk *faultyDisk, seed uint64, fails bool) {
	rng := rand.New(rand.NewPCG(seed, 2))
	h := held{}
	s, err := Open("store", us, WithFS(disk), often)
	if err != nil {
		require.True(t, fails, "%v", err)
		disk.mend()
		if s, err = Open("store", us, WithFS(disk), often); err != nil {
			require.NoError(t, err)
		}
	}
	st := map[string]string{}
	for i := range 3 {
		h.write(s, rng, 60, 15_000)
		h.require(t, s)
		if s.State().Put(t.Context(), []byte("state"), fmt.Append(nil, i)) == nil {
			st["state"] = fmt.Sprint(i)
		}
	}
	if err := s.Failing(); err != nil && disk.stall > 0 {
		require.ErrorContains(t, err, "the disk has not answered for 2s")
	} else if err != nil {
		require.ErrorIs(t, err, syscall.EIO)
	}
	disk.mend()
	time.Sleep(disk.stall) // the removal of a file may hang, which only Close waits for
	recovered(t, s)
	require.Zero(t, h.write(s, rng, 20, 100))
	h.require(t, s)
	require.NoError(t, s.Close())

	s, err = Open("store", us, WithFS(disk), often)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	h.require(t, s)
	got := map[string]string{}
	require.NoError(t, s.State().Entries(t.Context(), func(key, value []byte) bool { got[string(key)] = string(value); return true }))
	require.Equal(t, st, got)
}

// The end of a process whose disk fails is no end of what it had acknowledged.
func TestFailingDiskAtTheEnd(t *testing.T) {
	disk := newFaultyDisk(vfs.NewMem(), syscall.EIO)
	s, err := Open("store", us, WithFS(disk), often)
	require.NoError(t, err)
	require.NoError(t, set(s, "k", records.Synced, rec("synced", time.Hour)))
	disk.lasting.Store(true)
	disk.at.Store(1)
	require.ErrorIs(t, set(s, "k", records.Synced, rec("refused", time.Hour)), syscall.EIO)
	recs, err := s.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, []string{"synced"}, values(recs), "reads go on")
	require.ErrorIs(t, s.Failing(), syscall.EIO)
	require.ErrorIs(t, s.Checkpoint(t.Context(), "copy"), syscall.EIO)
	require.ErrorIs(t, s.Close(), syscall.EIO)
	require.ErrorIs(t, s.Close(), syscall.EIO, "as the first time")

	disk.mend()
	s, err = Open("store", us, WithFS(disk), often)
	require.NoError(t, err)
	defer s.Close()
	recs, err = s.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, []string{"synced"}, values(recs))
}

// Files of the store that somebody removes while it is open are made good of what the
// memory has, once the store is opened anew.
func TestRemovedLogIsMadeGood(t *testing.T) {
	var fails atomic.Bool
	disk := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fails.Load() && isSync(op) {
			return syscall.EIO
		}
		return nil
	}))
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir, us, WithFS(disk), often)
	require.NoError(t, err)
	want := held{}
	for i := range 300 {
		key := fmt.Sprint("k", i)
		require.NoError(t, set(s, key, records.Synced, rec("kept", time.Hour)))
		want[key] = []string{"kept"}
	}
	require.NoError(t, s.State().Put(t.Context(), []byte("a"), []byte("1")))
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	for _, log := range logs {
		require.NoError(t, os.Remove(log))
	}
	fails.Store(true)
	require.ErrorIs(t, set(s, "refused", records.Synced, rec("refused", time.Hour)), syscall.EIO)
	fails.Store(false)
	recovered(t, s)
	require.NoError(t, s.Close())

	s = open(t, dir)
	want.require(t, s)
	n := 0
	require.NoError(t, s.State().Entries(t.Context(), func(key, value []byte) bool {
		n++
		return string(key) == "a" && string(value) == "1"
	}))
	require.Equal(t, 1, n)
}

// What was refused does not come back, though it had reached the disk before that failed.
func TestRefusedStaysAway(t *testing.T) {
	mem := vfs.NewMem()
	var failSync atomic.Bool
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if failSync.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			return syscall.EIO
		}
		return nil
	}))
	s, err := Open("store", us, WithFS(disk), often)
	require.NoError(t, err)
	require.NoError(t, set(s, "k", records.Synced, rec("kept", time.Hour)))
	failSync.Store(true)
	require.ErrorIs(t, set(s, "k", records.Synced, rec("refused", time.Hour)), syscall.EIO)
	require.ErrorIs(t, set(s, "l", records.Synced, rec("refused", time.Hour)), syscall.EIO)
	failSync.Store(false)
	recovered(t, s)
	require.NoError(t, s.Close())
	s, err = Open("store", us, WithFS(disk), often)
	require.NoError(t, err)
	defer s.Close()
	held{"k": {"kept"}}.require(t, s)
}

// A full disk refuses what is new and lets go of what is old, before it is full to the
// last byte and, where others fill it faster, after.
func TestDiskFull(t *testing.T) {
	t.Run("to the reserve", func(t *testing.T) {
		mem := vfs.NewMem()
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 41})
		s := open(t, "store", WithFS(mem), WithReserve(1<<20), often)
		require.NoError(t, set(s, "k", records.Synced, rec("a", time.Hour), rec("b", time.Hour)))
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1<<20 - 1, TotalBytes: 1 << 41})
		require.Eventually(t, func() bool { return s.Failing() != nil }, 10*time.Second, 10*time.Millisecond)
		err := set(s, "l", records.Synced, rec("new", time.Hour))
		require.ErrorIs(t, err, ErrNoRoom)
		require.ErrorContains(t, err, "1048575 bytes are free where store is")
		require.ErrorIs(t, s.State().Put(t.Context(), []byte("k"), []byte("v")), ErrNoRoom)
		require.ErrorIs(t, s.Status().Failing, ErrNoRoom)
		recs, err := s.Get(t.Context(), []byte("k"))
		require.NoError(t, err)
		require.NoError(t, set(s, "k", records.Synced, recs[1:]...), "what is removed is")
		require.NoError(t, s.State().Delete(t.Context(), []byte("k")))
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 41})
		recovered(t, s)
		require.NoError(t, set(s, "l", records.Synced, rec("new", time.Hour)))
		held{"k": {"b"}, "l": {"new"}}.require(t, s)
	})
	t.Run("to the last byte", func(t *testing.T) {
		disk := newFaultyDisk(vfs.NewMem(), syscall.ENOSPC)
		s := open(t, "store", WithFS(disk), often)
		require.NoError(t, set(s, "k", records.Synced, rec("a", time.Hour)))
		disk.lasting.Store(true)
		disk.at.Store(1)
		require.ErrorIs(t, set(s, "k", records.Synced, rec("b", time.Hour)), syscall.ENOSPC)
		require.ErrorIs(t, s.Failing(), syscall.ENOSPC)
		held{"k": {"a"}}.require(t, s)
		disk.mend()
		recovered(t, s)
		require.NoError(t, set(s, "k", records.Soon, rec("b", time.Hour)))
	})
	t.Run("read-only", func(t *testing.T) {
		disk := newFaultyDisk(vfs.NewMem(), syscall.EROFS)
		disk.lasting.Store(true)
		disk.at.Store(1)
		_, err := Open("store", us, WithFS(disk), often)
		require.ErrorIs(t, err, syscall.EROFS)
		require.ErrorContains(t, err, "store")
	})
}

// The store's making may end at any place, and is taken up by the next opening.
func TestMadeWholeOrNotAtAll(t *testing.T) {
	for at := int64(1); ; at++ {
		disk := newFaultyDisk(vfs.NewMem(), syscall.EIO)
		disk.at.Store(at)
		disk.lasting.Store(true)
		s, err := Open("store", us, WithFS(disk), often)
		if err == nil {
			_ = s.Close() // the disk fails a little later
			break
		}
		require.ErrorIs(t, err, syscall.EIO, "operation %d", at)
		disk.mend()
		s, err = Open("store", us, WithFS(disk), often)
		require.NoError(t, err, "operation %d", at)
		require.NoError(t, set(s, "k", records.Synced, rec("v", time.Hour)))
		require.NoError(t, s.Close())
		_, err = disk.Stat("store/" + label.File)
		require.NoError(t, err)
		_, err = disk.Stat("store/" + label.Making)
		require.True(t, errors.Is(err, fs.ErrNotExist))
	}
}
