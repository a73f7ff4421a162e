package pebble

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

var hangs = flag.Int("hangs", 30, "places at which the disk is made to hang for a while")

// hangingDisk is a disk in memory of which some operations do not end until it is told.
type hangingDisk struct {
	vfs.FS
	which atomic.Pointer[func(errorfs.Op) bool]
	gate  chan struct{}
}

func newHangingDisk() *hangingDisk {
	d := &hangingDisk{gate: make(chan struct{})}
	d.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if which := d.which.Load(); which != nil && (*which)(op) {
			<-d.gate
		}
		return nil
	}))
	return d
}

// ReuseForWrite makes the file anew: errorfs does not watch one that is used again.
func (d *hangingDisk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return anew(d.FS, oldname, newname, category)
}

func anew(files vfs.FS, oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := files.Remove(oldname); err != nil {
		return nil, err
	}
	return files.Create(newname, category)
}

func (d *hangingDisk) hang(which func(op errorfs.Op) bool) { d.which.Store(&which) }

func (d *hangingDisk) answer() {
	d.which.Store(nil)
	close(d.gate)
}

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
}

var waysToHang = map[string]func(op errorfs.Op) bool{
	"a sync":         isSync,
	"a write":        func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite },
	"the free space": func(op errorfs.Op) bool { return op.Kind == errorfs.OpGetDiskUsage },
	"everything":     func(errorfs.Op) bool { return true },
}

// What was decided last is refused first, so that each takes back what it had done on top
// of those before it.
func TestRefusedInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newHangingDisk()
		s, err := Open("store", us, WithFS(disk))
		require.NoError(t, err)
		disk.hang(isSync)
		var refused []int
		for i := range 5 {
			change := func([]records.Record) []records.Record { return []records.Record{rec(fmt.Sprint(i), time.Hour)} }
			s.Update(t.Context(), []byte("key"), records.Synced, change, func(err error) {
				require.Error(t, err)
				refused = append(refused, i)
			})
			synctest.Wait() // the first one is under way
		}
		time.Sleep(answerWithin)
		synctest.Wait()
		require.Equal(t, []int{4, 3, 2, 1, 0}, refused)
		disk.answer()
		time.Sleep(2 * time.Second) // it works again
		require.NoError(t, s.Close())
	})
}

// What changes nothing is done no sooner than what it was decided on, and refused with it.
func TestNoChangeWaitsForWhatItIsBuiltOn(t *testing.T) {
	for name, answers := range map[string]bool{"which is synced": true, "which is refused": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := newHangingDisk()
				s, err := Open("store", us, WithFS(disk))
				require.NoError(t, err)
				disk.hang(isSync)
				var ended []string
				end := func(what string) func(error) {
					return func(err error) {
						require.Equal(t, answers, err == nil, err)
						ended = append(ended, what)
					}
				}
				seen := 0
				s.Update(t.Context(), []byte("key"), records.Synced, func([]records.Record) []records.Record {
					return []records.Record{rec("value", time.Hour)}
				}, end("change"))
				synctest.Wait()
				for _, d := range []records.Durability{records.Soon, records.Synced} {
					s.Update(t.Context(), []byte("key"), d, func(old []records.Record) []records.Record {
						seen = len(old)
						return old
					}, end("none"))
					synctest.Wait()
					require.Equal(t, 1, seen)
				}
				require.Empty(t, ended)
				if answers {
					disk.answer()
					synctest.Wait()
					require.Equal(t, []string{"change", "none", "none"}, ended)
				} else {
					time.Sleep(answerWithin)
					synctest.Wait()
					require.Equal(t, []string{"none", "none", "change"}, ended)
					disk.answer()
					time.Sleep(2 * time.Second) // it works again
				}
				require.NoError(t, s.Close())
			})
		})
	}
}

// Who is told and takes his time is not the disk.
func TestSlowCallerIsNoHang(t *testing.T) {
	for range 20 { // two things are ready at once then
		synctest.Test(t, func(t *testing.T) {
			disk := newHangingDisk()
			s, err := Open("store", us, WithFS(disk))
			require.NoError(t, err)
			disk.hang(isSync)
			ended := make(chan error, 2)
			for i := range cap(ended) {
				s.Update(t.Context(), fmt.Append(nil, i), records.Synced, func([]records.Record) []records.Record {
					return []records.Record{rec("value", time.Hour)}
				}, func(err error) {
					time.Sleep(2 * answerWithin)
					ended <- err
				})
				synctest.Wait()
			}
			disk.answer()
			for range cap(ended) {
				require.NoError(t, <-ended)
			}
			require.NoError(t, s.Failing())
			require.NoError(t, s.Close())
		})
	}
}

// A disk that hangs is said to, after 2 s; what waits is refused, and does not come true
// when the disk answers. Reads go on.
func TestHangingDisk(t *testing.T) {
	for name, which := range waysToHang {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := newHangingDisk()
				s, err := Open("store", us, WithFS(disk))
				require.NoError(t, err)
				m, err := records.New(records.WithStore(s))
				require.NoError(t, err)
				put := func(key, value string) error {
					return m.Store(t.Context(), records.Put{Key: []byte(key), Value: []byte(value), NodeID: []byte("id"), TTL: time.Hour, Synced: true})
				}
				require.NoError(t, put("k", "kept"))
				usage := m.Stats()
				disk.hang(which)
				time.Sleep(time.Second) // the free space is looked at every second
				synctest.Wait()
				began, refused := time.Now(), make(chan error, 3000)
				for i := range cap(refused) { // more than there is room for in the queue
					go func() { refused <- put(fmt.Sprint("k", i%7), "refused") }()
				}
				for range cap(refused) {
					err := <-refused
					require.ErrorIs(t, err, records.ErrStoreFailed)
					require.ErrorContains(t, err, "the disk has not answered for 2s")
				}
				require.LessOrEqual(t, time.Since(began), answerWithin+time.Millisecond)
				require.Equal(t, usage.Bytes, m.Stats().Bytes)
				require.ErrorContains(t, m.Failing(), "the disk has not answered for 2s")
				require.ErrorContains(t, s.Status().Failing, "store")
				began = time.Now()
				require.ErrorIs(t, put("k", "refused"), records.ErrStoreFailed)
				require.ErrorContains(t, s.State().Put(t.Context(), []byte("k"), nil), "has not answered")
				require.Zero(t, time.Since(began), "at once")
				recs, err := m.Values(t.Context(), []byte("k"))
				require.NoError(t, err)
				require.Equal(t, []string{"kept"}, values(recs))
				time.Sleep(time.Minute)
				require.Error(t, m.Failing())

				disk.answer()
				time.Sleep(3 * time.Second)
				require.NoError(t, m.Failing())
				held{"k": {"kept"}}.require(t, s)
				require.NoError(t, put("l", "new"))
				usage = m.Stats()
				require.NoError(t, m.Close())
				s, err = Open("store", us, WithFS(disk))
				require.NoError(t, err)
				held{"k": {"kept"}, "l": {"new"}}.require(t, s)
				m, err = records.New(records.WithStore(s))
				require.NoError(t, err)
				require.Equal(t, usage.Bytes, m.Stats().Bytes)
				require.NoError(t, m.Close())
			})
		})
	}
}

// A store whose disk hangs is closed within 3 s, with what is left; the directory stays
// locked until the disk answers.
func TestCloseOfAHangingDisk(t *testing.T) {
	for name, which := range waysToHang {
		for _, when := range []time.Duration{0, time.Minute} { // before Close
			t.Run(fmt.Sprint(name, " since ", when), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk := newHangingDisk()
					s, err := Open("store", us, WithFS(disk))
					require.NoError(t, err)
					m, err := records.New(records.WithStore(s))
					require.NoError(t, err)
					require.NoError(t, set(s, "k", records.Synced, rec("kept", time.Hour)))
					disk.hang(which)
					refused := make(chan error, 2000)
					for i := range cap(refused) {
						ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
						defer cancel()
						go m.StoreThen(ctx, records.Put{Key: fmt.Append(nil, i), Value: []byte("v"), TTL: time.Hour}, func(err error) { refused <- err })
					}
					time.Sleep(when)
					began := time.Now()
					err = m.Close()
					require.LessOrEqual(t, time.Since(began), closeWithin)
					if name != "the free space" || when > 0 {
						require.ErrorContains(t, err, "the disk has not answered for")
					}
					synctest.Wait()
					require.Len(t, refused, cap(refused), "all are told")
					require.ErrorIs(t, s.State().Delete(t.Context(), []byte("k")), ErrClosed)
					disk.answer()
					synctest.Wait()
					s, err = Open("store", us, WithFS(disk))
					require.NoError(t, err)
					recs, err := s.Get(t.Context(), []byte("k"))
					require.NoError(t, err)
					require.Equal(t, []string{"kept"}, values(recs))
					require.NoError(t, s.Close())
				})
			})
		}
	}
}

// Whoever waits for the state to be kept ends with the context.
func TestStateEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newHangingDisk()
		s, err := Open("store", us, WithFS(disk))
		require.NoError(t, err)
		disk.hang(isSync)
		began := time.Now()
		for i := range 3 * queued { // on and behind the queue
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.ErrorIs(t, s.State().Put(ctx, fmt.Append(nil, i), nil), context.DeadlineExceeded)
				require.Equal(t, time.Second, time.Since(began))
			}()
		}
		time.Sleep(answerWithin - time.Millisecond)
		disk.answer()
		require.NoError(t, s.Close())
	})
}

// A disk that hangs for a while at any place, and then goes on, loses nothing that was
// acknowledged and keeps nothing that was refused.
func TestHangsAnywhere(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	run := func(t *testing.T, at int64, stall time.Duration) (operations int64) {
		synctest.Test(t, func(t *testing.T) {
			disk := newFaultyDisk(vfs.NewMem(), syscall.EIO)
			disk.stall = stall
			disk.at.Store(at)
			runFailing(t, disk, seed, true)
			operations = disk.count.Load()
		})
		return operations
	}
	operations := run(t, 0, 0)
	for i := range *hangs {
		at := 1 + int64(i)*operations/int64(*hangs)
		stall := []time.Duration{time.Second, 5 * time.Second, time.Minute}[i%3]
		name := fmt.Sprintf("operation %d of %d, for %v", at, operations, stall)
		if !t.Run(name, func(t *testing.T) { run(t, at, stall) }) {
			return
		}
	}
}

// What one opening has under way may come late, but not after what the next one does:
// that waits for it.
func TestNothingComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newHangingDisk()
		faulty := newFaultyDisk(disk, syscall.EIO)
		s, err := Open("store", us, WithFS(faulty))
		require.NoError(t, err)
		disk.hang(func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".sst") }) // and nothing else
		value, rng := make([]byte, 60_000), rand.New(rand.NewPCG(1, 1))
		for i := range 80 { // more than a table in memory
			for j := range value {
				value[j] = byte(rng.Uint32())
			}
			require.NoError(t, set(s, fmt.Sprint(i), records.Synced, rec(string(value), time.Hour)))
		}
		synctest.Wait()
		faulty.at.Store(faulty.count.Load() + 1)
		require.ErrorIs(t, set(s, "k", records.Synced, rec("v", time.Hour)), syscall.EIO)
		faulty.mend()
		disk.which.Store(nil) // but what is under way
		time.Sleep(time.Minute)
		require.ErrorIs(t, s.Failing(), syscall.EIO)
		disk.answer()
		time.Sleep(3 * time.Second)
		require.NoError(t, s.Failing())
		require.NoError(t, set(s, "k", records.Synced, rec("v", time.Hour)))
		require.NoError(t, s.Close())
	})
}

// A copy to a disk that hangs holds up neither what is stored, nor the recovery from a
// failure, nor the end; and it ends with its context.
func TestCopyToAHangingDisk(t *testing.T) {
	toCopy := func(op errorfs.Op) bool { return strings.HasPrefix(op.Path, "copy") && op.Kind == errorfs.OpFileWrite }
	synctest.Test(t, func(t *testing.T) {
		disk := newHangingDisk()
		faulty := newFaultyDisk(disk, syscall.EIO)
		s, err := Open("store", us, WithFS(faulty))
		require.NoError(t, err)
		require.NoError(t, set(s, "k", records.Synced, rec("v", time.Hour)))
		disk.hang(toCopy)
		ended := make(chan error, 2)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- s.Checkpoint(ctx, "copy") }()
		synctest.Wait()
		require.NoError(t, set(s, "k", records.Synced, rec("w", time.Hour)))
		faulty.at.Store(faulty.count.Load() + 1)
		require.ErrorIs(t, set(s, "k", records.Synced, rec("x", time.Hour)), syscall.EIO)
		faulty.mend()
		time.Sleep(3 * time.Second)
		require.NoError(t, set(s, "k", records.Synced, rec("y", time.Hour)))
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		go func() { ended <- s.Checkpoint(t.Context(), "copy 2") }()
		synctest.Wait()
		began := time.Now()
		require.ErrorContains(t, s.Close(), "the disk has not answered", "it is still being copied")
		require.LessOrEqual(t, time.Since(began), closeWithin)
		require.ErrorIs(t, <-ended, ErrClosed)
		disk.answer()
		synctest.Wait()
		for _, name := range []string{"copy", "copy 2", "copy.partial", "copy 2.partial"} {
			_, err = disk.Stat(name)
			require.Error(t, err, name)
		}
		s, err = Open("store", us, WithFS(disk))
		require.NoError(t, err)
		held{"k": {"y"}}.require(t, s)
		require.NoError(t, s.Close())
	})
}

// Close does not wait for a compaction on a slow disk.
func TestCloseWhileItCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if slow.Load() && strings.HasSuffix(op.Path, ".sst") && op.Kind == errorfs.OpFileWrite {
				time.Sleep(time.Second)
			}
			return nil
		}))
		s, err := Open("store", us, WithFS(disk))
		require.NoError(t, err)
		value, rng, h := make([]byte, 60_000), rand.New(rand.NewPCG(1, 1)), held{}
		for i := range 110 {
			for j := range value {
				value[j] = 'a' + byte(rng.Uint32()%26)
			}
			slow.Store(i > 50)
			require.NoError(t, set(s, fmt.Sprint(i), records.Synced, rec(string(value), time.Hour)))
			h[fmt.Sprint(i)] = []string{string(value)}
		}
		began := time.Now()
		require.NoError(t, s.Close())
		require.LessOrEqual(t, time.Since(began), closeWithin)
		slow.Store(false)
		s, err = Open("store", us, WithFS(disk))
		require.NoError(t, err)
		h.require(t, s)
		require.NoError(t, s.Close())
	})
}

// What is written behind a batch that is being synced counts to the bound at once: the
// room is looked at as often as if each batch were waited for.
func TestRoomIsLookedAtWhileOneIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newHangingDisk()
		var looks atomic.Int64
		s, err := Open("store", us, WithFS(disk))
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		value := strings.Repeat("v", batchBytes)
		for range 12 { // the tables in memory grow until they have their size
			require.NoError(t, set(s, "first", records.Synced, rec(value, time.Hour)))
		}
		require.NoError(t, s.db.Flush()) // so that no log ends, which would wait for its sync
		synctest.Wait()
		disk.hang(func(op errorfs.Op) bool {
			if op.Kind == errorfs.OpGetDiskUsage {
				looks.Add(1)
			}
			return isSync(op) && strings.HasSuffix(op.Path, ".log")
		})
		done := make(chan error, 3)
		for i := range cap(done) {
			change := func([]records.Record) []records.Record { return []records.Record{rec(value, time.Hour)} }
			s.Update(t.Context(), fmt.Append(nil, i), records.Synced, change, func(err error) { done <- err })
			synctest.Wait()
		}
		waiting, looked := cap(done)-len(done), looks.Load()
		disk.answer()
		require.Equal(t, cap(done), waiting)
		require.EqualValues(t, cap(done), looked)
		for range cap(done) {
			require.NoError(t, <-done)
		}
	})
}
