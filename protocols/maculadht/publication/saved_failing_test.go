package publication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// flakyState fails at the n-th write, before or after it has taken place.
type flakyState struct {
	*statetest.Memory
	mu   sync.Mutex
	n    int
	late bool
}

var errDisk = errors.New("disk full")

func (f *flakyState) write(op func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n != 0 {
		return op()
	}
	if f.late {
		_ = op()
	}
	return errDisk
}

func (f *flakyState) Put(ctx context.Context, key, value []byte) error {
	return f.write(func() error { return f.Memory.Put(ctx, key, value) })
}

func (f *flakyState) Delete(ctx context.Context, key []byte) error {
	return f.write(func() error { return f.Memory.Delete(ctx, key) })
}

// Whichever write fails: what was acknowledged is so after a kill at any moment, the
// caller is told of what was not, and the advertisement goes on.
func TestAStateThatFailsAtEachWrite(t *testing.T) {
	for n := range 8 {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, late %v", n, late), func(t *testing.T) {
				s := &flakyState{Memory: new(statetest.Memory), n: n, late: late}
				p := starts(t, s, &oneHolder{})
				want := make(map[string]bool)
				killed := func() {
					t.Helper()
					after := make(map[string]bool)
					for _, a := range starts(t, s.Copy(), &oneHolder{}).Advertisements() {
						after[string(a.Key)] = true
					}
					for key, there := range want {
						require.Equal(t, there, after[key], key)
					}
				}
				note := func(key string, there bool, err error) {
					t.Helper()
					want[key] = there
					if err != nil {
						require.ErrorIs(t, err, ErrNotSaved)
						require.ErrorIs(t, err, errDisk)
						delete(want, key) // either may be
					}
					killed()
				}
				var all []*Advertisement
				for i := range 3 {
					key := fmt.Sprint("key ", i)
					a, err := p.Advertise(t.Context(), []byte(key), dhttest.Value("me"))
					require.NotNil(t, a)
					note(key, true, err)
					all = append(all, a)
				}
				require.Len(t, p.Advertisements(), 3, "they go on, saved or not")
				for i, a := range all[:2] {
					err := a.Withdraw()
					note(string(a.publication.key), false, err)
					require.Len(t, p.Advertisements(), 2-i, "it does not go on, be it saved or not")
					if err != nil {
						require.NoError(t, a.Withdraw(), "tried again")
						note(string(a.publication.key), false, nil)
					}
				}
				p.Close()
				killed()
			})
		}
	}
}

// What could not be saved is saved as soon as that works.
func TestSavedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept statetest.Memory
		kept.FailWith(func(string, []byte) error { return nil })
		p := starts(t, &kept, &oneHolder{})
		kept.FailWith(func(string, []byte) error { return errDisk })
		a, err := p.AdvertiseService(t.Context(), greeter)
		require.ErrorIs(t, err, ErrNotSaved)
		require.False(t, p.Advertisements()[0].Saved)
		_, err = p.AdvertiseService(t.Context(), greeter)
		require.ErrorIs(t, err, ErrNotSaved, "tried again for each that advertises it")
		time.Sleep(10 * time.Second)
		require.False(t, p.Advertisements()[0].Saved)
		kept.FailWith(nil)
		time.Sleep(10 * time.Second)
		require.True(t, p.Advertisements()[0].Saved)
		require.Len(t, kept.Keys(), 1)

		kept.FailWith(func(string, []byte) error { return errDisk })
		require.NoError(t, a.Withdraw(), "another user is left")
		p.Close()
	})
}

// A state that can not be read is no empty one.
func TestAStateThatCanNotBeRead(t *testing.T) {
	var kept statetest.Memory
	p := starts(t, &kept, &oneHolder{})
	kept.FailWith(func(op string, _ []byte) error {
		if op == statetest.Entries {
			return errDisk
		}
		return nil
	})
	cfg := p.cfg
	cfg.State = &kept
	_, err := New(cfg)
	require.ErrorIs(t, err, errDisk)
}

// Entries that can not be read are told of, and left as they are.
func TestUnreadableEntriesAreLeft(t *testing.T) {
	var kept statetest.Memory
	p := starts(t, &kept, &oneHolder{})
	for i := range 4 {
		_, err := p.Advertise(t.Context(), []byte{byte(i)}, dhttest.Value("me"))
		require.NoError(t, err)
	}
	p.Close()
	keys := kept.Keys()
	put := func(key string, value []byte) { require.NoError(t, kept.Put(t.Context(), []byte(key), value)) }
	put(keys[0], []byte("\xC1nonsense"))
	put(keys[1], nil)
	var other []byte
	require.NoError(t, kept.Entries(t.Context(), func(key, value []byte) bool {
		if string(key) == keys[3] {
			other = bytes.Clone(value)
		}
		return true
	}))
	put(keys[2], other) // under another's key

	var log bytes.Buffer
	again := starts(t, &kept, &oneHolder{}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	require.Len(t, again.Advertisements(), 1)
	require.Equal(t, keys, kept.Keys())
	for _, key := range keys[:3] {
		require.Contains(t, log.String(), fmt.Sprintf("entry=%x", key[len("advertisement/"):]))
	}
}

// hangingState is one whose disk does not answer to what is deleted.
type hangingState struct{ *statetest.Memory }

func (hangingState) Delete(ctx context.Context, _ []byte) error {
	<-ctx.Done()
	return ctx.Err()
}

// A disk that hangs keeps Withdraw no longer than it may, and nothing else at all.
func TestWithdrawnOnADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := starts(t, hangingState{new(statetest.Memory)}, &oneHolder{})
		advertise := func(key string) *Advertisement {
			t.Helper()
			began := time.Now()
			a, err := p.Advertise(t.Context(), []byte(key), dhttest.Value("me"))
			require.NoError(t, err)
			require.Zero(t, time.Since(began), key)
			return a
		}
		a := advertise("first")
		began := time.Now()
		withdrawn := make(chan error)
		go func() { withdrawn <- a.Withdraw() }()
		synctest.Wait()
		for i := range 300 { // more than there could be locks for many
			advertise(fmt.Sprint("other ", i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Advertise(ctx, []byte("first"), dhttest.Value("me"))
		require.ErrorIs(t, err, context.DeadlineExceeded, "the same one waits, as long as it is to")
		require.ErrorIs(t, <-withdrawn, ErrNotSaved)
		require.LessOrEqual(t, time.Since(began), diskPatience+time.Second)
		began = time.Now()
		require.ErrorIs(t, a.Withdraw(), ErrNotSaved, "tried again")
		require.LessOrEqual(t, time.Since(began), diskPatience)
		require.Empty(t, p.writing.held)
		p.Close()
	})
}

// hangingStore is one whose disk does not answer, from a moment on.
type hangingStore struct {
	records.Store
	hangs atomic.Bool
}

func (s *hangingStore) Update(ctx context.Context, key []byte, d records.Durability, change func([]records.Record) []records.Record, done func(error)) {
	if !s.hangs.Load() {
		s.Store.Update(ctx, key, d, change, done)
	}
}

// What is kept on a disk that hangs is published all the same, and Close does not wait.
func TestPublishedOnADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingStore{Store: records.NewMemoryStore()}
		kept, err := records.New(records.WithStore(store))
		require.NoError(t, err)
		defer kept.Close()
		other := dhttest.PeerID(t)
		net := new(oneHolder)
		p := newPublisher(t, net, routing.WithRecords(kept))
		require.NoError(t, p.cfg.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
		puts := func() int {
			net.mu.Lock()
			defer net.mu.Unlock()
			return len(net.puts)
		}
		_, err = p.Advertise(t.Context(), []byte("k"), dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(60)}))
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 1, puts())
		store.hangs.Store(true)
		time.Sleep(time.Minute)
		require.Greater(t, puts(), 1, "renewed in time")

		waits := make(chan error)
		go func() {
			_, err := p.Advertise(t.Context(), []byte("another"), dhttest.Value("me"))
			waits <- err
		}()
		synctest.Wait()
		began := time.Now()
		go p.Close()
		require.ErrorIs(t, <-waits, proto.ErrClosed)
		p.Close()
		require.Zero(t, time.Since(began))
	})
}
