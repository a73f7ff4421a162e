package dht

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht/offer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// disk is a store whose updates are done when the test commits them, as those of a
// disk are done by its syncs.
type disk struct {
	records.Store

	mu      sync.Mutex
	full    bool // its queue is
	updates []diskUpdate
	synced  int // updates that were to be
}

type diskUpdate struct {
	key    []byte
	change func([]records.Record) []records.Record
	done   func(error)
}

func (d *disk) Update(ctx context.Context, key []byte, durability records.Durability, change func([]records.Record) []records.Record, done func(error)) {
	d.mu.Lock()
	full := d.full
	if !full {
		d.updates = append(d.updates, diskUpdate{key, change, done})
	}
	if durability == records.Synced {
		d.synced++
	}
	d.mu.Unlock()
	if full {
		<-ctx.Done()
		done(ctx.Err())
	}
}

// waiting returns how many updates wait for a commit.
func (d *disk) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.updates)
}

// commit ends all updates that wait, with an error where there is one.
func (d *disk) commit(err error) {
	d.mu.Lock()
	updates := d.updates
	d.updates = nil
	d.mu.Unlock()
	for _, u := range updates {
		if err != nil {
			u.done(err)
			continue
		}
		d.Store.Update(context.Background(), u.key, records.Soon, u.change, u.done)
	}
}

// adopted counts what is adopted.
type adopted struct{ n int }

func (a *adopted) Adopt(records.Put) { a.n++ }

// diskRig serves streams over a disk.
type diskRig struct {
	*rig

	disk    *disk
	adopted *adopted
}

func newDiskRig(t testing.TB, change func(*server.Limits)) *diskRig {
	t.Helper()
	limits := server.DefaultLimits()
	if change != nil {
		change(&limits)
	}
	mux, err := server.NewMux(server.WithLimits(limits))
	require.NoError(t, err)
	d := &diskRig{disk: &disk{Store: records.NewMemoryStore()}, adopted: new(adopted)}
	m, err := records.New(records.WithStore(d.disk), records.WithSweepInterval(24*time.Hour))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	routes, err := routing.NewServer(routing.ID{}, routing.WithRecords(m))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, routes.Close()) })
	h, err := New(mux, routes, WithAdopter(d.adopted))
	require.NoError(t, err)
	d.rig = &rig{servertest.NewRig(t, mux), h}
	return d
}

// storeCall returns the n-th call that stores a value under a key.
func storeCall(n int, key string) *wire.Call {
	args := procedures.StoreArgs{Key: []byte(key), Value: valueOf(n)}
	return &wire.Call{Procedure: wire.ProcedureStore, CallID: fmt.Append(nil, "call ", n), Args: args.Raw()}
}

func valueOf(n int) wire.Raw {
	return dhttest.Value(servertest.ErlangID("p"), wire.Pair{Key: "n", Value: wire.RawInt(int64(n))})
}

// requireStored requires the answer to the n-th call, with this code or none.
func requireStored(t testing.TB, m wire.Message, n int, code string) {
	t.Helper()
	reply := m.(*wire.Reply)
	require.Equal(t, fmt.Sprint("call ", n), string(reply.CallID))
	if code == "" {
		require.Nil(t, reply.Error)
		require.Equal(t, offer.Reply(nil, nil).Result, reply.Result)
		return
	}
	require.Equal(t, code, reply.Error.Code)
	require.Empty(t, reply.Result)
}

// What is to be acknowledged waits for the disk together.
func TestStoresShareCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const inFlight, rounds = 256, 4
		r := newDiskRig(t, nil)
		p := r.Serve(server.LibP2P())
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			for n := range rounds * inFlight {
				p.Send(dhttest.Frames(t, storeCall(n, fmt.Sprint(n))))
			}
		}()
		commits, done := 0, make(chan struct{})
		go func() {
			defer close(done)
			for n := range rounds * inFlight {
				requireStored(t, p.Message(), n, "")
			}
		}()
		for r.handlers.Stats().Stored < rounds*inFlight {
			synctest.Wait()
			require.LessOrEqual(t, r.disk.waiting(), inFlight+1)
			r.disk.commit(nil)
			commits++
		}
		<-asked
		<-done
		require.LessOrEqual(t, commits, rounds+1, "each is of all that is in flight")
		require.Equal(t, rounds*inFlight, r.disk.synced)
		require.Zero(t, r.Mux.Stats().Busy)
		p.RequireEnd()
		r.RequireNothingHeld()
	})
}

// What is asked behind a value on its stream sees it, and is answered in its place.
func TestStoresTakeEffectInOrder(t *testing.T) {
	store := &wire.Store{Key: []byte("k"), Value: valueOf(3)}
	for name, test := range map[string]struct {
		asked   []wire.Message
		want    int // the value that is found then
		commits int
		synced  int
	}{
		"a STORE":                 {[]wire.Message{store}, 3, 1, 0},
		"a call":                  {[]wire.Message{storeCall(1, "k")}, 1, 1, 1},
		"calls of one key":        {[]wire.Message{storeCall(1, "k"), storeCall(2, "k")}, 2, 1, 2},
		"calls, then a STORE":     {[]wire.Message{storeCall(1, "k"), storeCall(2, "k"), store}, 3, 1, 2},
		"a STORE, and then calls": {[]wire.Message{store, storeCall(1, "k"), storeCall(2, "k")}, 2, 2, 2},
	} {
		for _, dialect := range []server.Dialect{server.LibP2P(), server.Erlang()} {
			t.Run(name+" over "+dialect.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newDiskRig(t, nil)
					p := r.Serve(dialect)
					go p.Send(dhttest.Frames(t, append(test.asked, &wire.FindValue{Key: []byte("k")}, &wire.Ping{})...))
					for range test.commits {
						synctest.Wait()
						require.Positive(t, r.disk.waiting())
						require.EqualValues(t, 0, r.handlers.Stats().Hits+r.handlers.Stats().Misses, "not looked up before")
						r.disk.commit(nil)
					}
					for _, m := range test.asked {
						if call, ok := m.(*wire.Call); ok {
							var n int
							fmt.Sscanf(string(call.CallID), "call %d", &n)
							requireStored(t, p.Message(), n, "")
						}
					}
					require.Equal(t, []wire.Raw{valueOf(test.want)}, p.Message().(*wire.FindValueReply).Values)
					require.IsType(t, &wire.Pong{}, p.Message())
					require.Equal(t, test.synced, r.disk.synced)
					adopted := 0
					if dialect.Proxied {
						adopted = len(test.asked)
					}
					require.Equal(t, adopted, r.adopted.n)
					p.RequireEnd()
					r.RequireNothingHeld()
				})
			})
		}
	}
}

// What was answered leaves before the stream waits for the disk.
func TestAnswersDoNotWaitForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newDiskRig(t, nil)
		p := r.Serve(server.LibP2P())
		started := time.Now()
		p.Send(dhttest.Frames(t, &wire.Ping{}, &wire.Store{Key: []byte("k"), Value: valueOf(1)}, &wire.FindNode{Target: []byte("x")}))
		require.IsType(t, &wire.Pong{}, p.Message())
		require.Equal(t, started, time.Now())
		require.Equal(t, 1, r.disk.waiting())
		r.disk.commit(nil)
		require.IsType(t, &wire.FindNodeReply{}, p.Message())
		p.RequireEnd()
	})
}

// Without a slot the stream waits: nobody is told that we are busy.
func TestStoresBeyondTheSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots, asked = 2, 8
		r := newDiskRig(t, func(l *server.Limits) { l.Slots = slots })
		p := r.Serve(server.LibP2P())
		go func() {
			for n := range asked {
				p.Send(dhttest.Frames(t, storeCall(n, "k")))
			}
		}()
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			for n := range asked {
				requireStored(t, p.Message(), n, "")
			}
		}()
		for _, waiting := range []int{slots + 1, slots + 1, asked - 2*(slots+1)} {
			synctest.Wait()
			require.Equal(t, waiting, r.disk.waiting())
			r.disk.commit(nil)
		}
		<-answered
		require.Zero(t, r.Mux.Stats().Busy)
		p.RequireEnd()
		r.RequireNothingHeld()
	})
}

// A disk that hangs costs a stream some patience, and is never answered "ok".
func TestDiskThatHangs(t *testing.T) {
	find, store := &wire.FindValue{Key: []byte("k")}, &wire.Store{Key: []byte("k"), Value: valueOf(1)}
	for name, test := range map[string]struct {
		slots int
		asked []wire.Message
		after time.Duration // of the last answer
	}{
		"a call":               {256, []wire.Message{storeCall(0, "k"), find}, server.DefaultLimits().SlotTime},
		"more than one":        {256, []wire.Message{storeCall(0, "k"), storeCall(1, "k"), find}, server.DefaultLimits().SlotTime},
		"more than have slots": {1, []wire.Message{storeCall(0, "k"), storeCall(1, "k"), storeCall(2, "k"), find}, server.DefaultLimits().SlotTime},
		"a STORE":              {256, []wire.Message{store, find}, storePatience},
		"many of them":         {256, []wire.Message{store, store, find, store, find}, storePatience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newDiskRig(t, func(l *server.Limits) { l.Slots = test.slots })
				p := r.Serve(server.Erlang())
				started := time.Now()
				go p.Send(dhttest.Frames(t, test.asked...))
				for n, m := range test.asked {
					switch m.(type) {
					case *wire.Call:
						requireStored(t, p.Message(), n, wire.CodeStoreFailed)
					case *wire.FindValue:
						require.Empty(t, p.Message().(*wire.FindValueReply).Values)
					}
				}
				require.Equal(t, test.after, time.Since(started))

				require.Empty(t, p.Ask(find).(*wire.FindValueReply).Values)
				require.Equal(t, test.after, time.Since(started), "what is asked later is answered at once")
				r.disk.commit(nil) // whoever waited is answered already
				require.Len(t, p.Ask(find).(*wire.FindValueReply).Values, 1)

				p.Send(dhttest.Frames(t, storeCall(9, "k")))
				go p.Send(dhttest.Frames(t, find))
				synctest.Wait()
				r.disk.commit(nil)
				requireStored(t, p.Message(), 9, "")
				require.Equal(t, []wire.Raw{valueOf(9)}, p.Message().(*wire.FindValueReply).Values, "there is patience again")
				p.RequireEnd()
				r.RequireNothingHeld()
			})
		})
	}
}

// A store that takes no more is not waited for.
func TestStoreThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newDiskRig(t, nil)
		r.disk.full = true
		p := r.Serve(server.LibP2P())
		started := time.Now()
		requireStored(t, p.Ask(storeCall(0, "k")), 0, wire.CodeBusy)
		require.Equal(t, storePatience, time.Since(started))
		p.Send(dhttest.Frames(t, &wire.Store{Key: []byte("k"), Value: valueOf(1)}))
		require.IsType(t, &wire.Pong{}, p.Ask(&wire.Ping{}))
		require.Equal(t, 2*storePatience, time.Since(started))
		require.EqualValues(t, 2, r.handlers.Stats().DroppedStores)
		require.Zero(t, r.handlers.Stats().Stored)
		p.RequireEnd()
		r.RequireNothingHeld()
	})
}

// What the disk has not taken is dropped, counted and never "ok"; it says to nobody
// why, which may name what is none of a stranger's concern.
func TestDiskThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newDiskRig(t, nil)
		p := r.Serve(server.Erlang())
		p.Send(dhttest.Frames(t, storeCall(0, "k"), storeCall(1, "l")))
		go p.Send(dhttest.Frames(t, &wire.Store{Key: []byte("k"), Value: valueOf(2)}, &wire.FindValue{Key: []byte("k")}))
		synctest.Wait()
		require.Equal(t, 3, r.disk.waiting())
		r.disk.commit(errors.New("no room in /var/lib/secret"))
		for n := range 2 {
			m := p.Message()
			requireStored(t, m, n, wire.CodeStoreFailed)
			require.NotContains(t, m.(*wire.Reply).Error.Message, "secret")
		}
		require.Empty(t, p.Message().(*wire.FindValueReply).Values)
		require.EqualValues(t, 3, r.handlers.Stats().DroppedStores)
		require.Zero(t, r.handlers.Stats().Stored)
		require.Zero(t, r.adopted.n)

		p.Send(dhttest.Frames(t, storeCall(3, "k")))
		synctest.Wait()
		r.disk.commit(nil)
		requireStored(t, p.Message(), 3, "")
		p.RequireEnd()
		r.RequireNothingHeld()
	})
}

// Shutting down waits for no disk, whoever waits for it.
func TestShutdownWhileTheDiskWorks(t *testing.T) {
	for name, last := range map[string]wire.Message{
		"calls":         storeCall(1, "k"),
		"a STORE":       &wire.Store{Key: []byte("k"), Value: valueOf(1)},
		"who asks":      &wire.FindValue{Key: []byte("k")},
		"without slots": storeCall(2, "k"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newDiskRig(t, func(l *server.Limits) { l.Slots = 2 })
				p := r.Serve(server.LibP2P())
				p.Send(dhttest.Frames(t, storeCall(0, "k"), storeCall(1, "k")))
				go p.Write(dhttest.Frames(t, last))
				synctest.Wait()
				started := time.Now()
				p.Shutdown()
				require.Error(t, <-p.Ended)
				require.Equal(t, started, time.Now())
				r.RequireNothingHeld()
				r.disk.commit(nil) // nobody is there any more
				require.Positive(t, r.handlers.Stats().Stored)
				p.Close()
			})
		})
	}
}

// In memory there is nothing to wait for: the answers take no slots, and leave
// together.
func TestStoresInMemoryTakeNoSlot(t *testing.T) {
	const asked = 20
	r := newRig(t)
	p := r.Serve(server.LibP2P())
	var calls []wire.Message
	for n := range asked {
		calls = append(calls, storeCall(n, "k"))
	}
	p.Send(dhttest.Frames(t, calls...))
	b := make([]byte, 4<<10)
	n, err := p.Read(b)
	require.NoError(t, err)
	b = b[:n]
	for n := range asked {
		var f framing.Frame
		f, b, err = framing.DecodeFrame(b)
		require.NoError(t, err)
		m, err := f.Decode()
		require.NoError(t, err)
		requireStored(t, m, n, "")
	}
	require.Empty(t, b)
	p.RequireEnd()
}
