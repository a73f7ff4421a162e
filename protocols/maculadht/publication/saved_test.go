package publication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// somewhere is a node with one address and an endpoint.
type somewhere struct{}

func (somewhere) AddrsFor(routing.Reach) []ma.Multiaddr {
	return []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/9443/quic-v1")}
}
func (somewhere) EndpointFor(routing.Reach) string { return "https://127.0.0.1:9443" }

// starts returns a publisher that keeps its advertisements in s.
func starts(t *testing.T, s state.State, n routing.Network, with ...func(*Config)) *Publisher {
	t.Helper()
	p := newPublisher(t, n)
	cfg := p.cfg
	cfg.State, cfg.Node, cfg.Peer = s, somewhere{}, peerOfTests
	for _, change := range with {
		change(&cfg)
	}
	saving, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(saving.Close)
	return saving
}

var peerOfTests = peer.ID("\x00\x01a")

// values returns the records under a key.
func values(t *testing.T, p *Publisher, key []byte) (all []wire.Raw) {
	t.Helper()
	found, err := p.cfg.Routing.Records().Values(t.Context(), key)
	if err != nil {
		return nil
	}
	for _, r := range found {
		all = append(all, r.Value)
	}
	return all
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, dhttest.Patience, time.Millisecond, what)
}

var (
	greeter = provider.Offer{Name: "greeter", Metadata: wire.RawMap(wire.Pair{Key: "version", Value: wire.RawInt(2)}), TTL: time.Minute}
	moved   = provider.Offer{Name: "greeter", Endpoint: "https://192.0.2.7:8080"}
)

// What was advertised goes on after a kill, as it was: a service with the addresses
// that the node has now.
func TestAdvertisementsGoOnAfterARestart(t *testing.T) {
	for name, key := range map[string][]byte{"a key": []byte("k"), "an empty key": {}, "any bytes": {0xC1, 0, 0xFF}} {
		t.Run(name, func(t *testing.T) {
			var kept statetest.Memory
			p := starts(t, &kept, &oneHolder{})
			value := dhttest.DeepValue(wire.MaxValueDepth)
			_, err := p.Advertise(t.Context(), key, value)
			require.NoError(t, err)
			_, err = p.AdvertiseService(t.Context(), greeter)
			require.NoError(t, err)
			before := p.Advertisements()
			require.Len(t, before, 2)
			for _, s := range before {
				require.True(t, s.Saved)
				require.False(t, s.Resumed)
				require.WithinDuration(t, time.Now(), s.Since, time.Minute)
			}

			again := starts(t, kept.Copy(), &oneHolder{}) // as after a kill
			after := again.Advertisements()
			require.Len(t, after, 2)
			for _, s := range after {
				require.True(t, s.Saved)
				require.True(t, s.Resumed)
				if s.Offer != nil {
					require.Equal(t, greeter, *s.Offer)
					continue
				}
				require.Equal(t, key, s.Key)
				require.Equal(t, value, s.Value)
			}
			require.Equal(t, before[0].Since.Unix(), after[0].Since.Unix())
			eventually(t, func() bool { return len(values(t, again, key)) == 1 }, "kept here at once")
			var here []wire.Raw
			eventually(t, func() bool { here = values(t, again, provider.Key("greeter")); return len(here) == 1 }, "kept here at once")
			_, has := here[0].Field("addrs")
			require.True(t, has, "with where it is now")

			p.Close()
			require.Equal(t, 2, len(kept.Keys()), "Close keeps them")
		})
	}
}

func TestWithdrawnDoesNotComeBack(t *testing.T) {
	var kept statetest.Memory
	p := starts(t, &kept, &oneHolder{})
	first, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	second, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	require.NoError(t, first.Withdraw())
	require.Len(t, kept.Keys(), 1, "the second lives")
	require.NoError(t, second.Withdraw())
	require.NoError(t, second.Withdraw(), "does nothing")
	require.Empty(t, kept.Keys())
	require.Empty(t, p.Advertisements())

	third, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	require.NoError(t, second.Withdraw())
	require.Len(t, kept.Keys(), 1, "it is another's now")
	p.Close()
	require.ErrorIs(t, third.Withdraw(), proto.ErrClosed)
	require.Len(t, kept.Keys(), 1)

	again := starts(t, &kept, &oneHolder{})
	require.Len(t, again.Advertisements(), 1)
	require.NoError(t, again.Advertisements()[0].Withdraw())
	require.Empty(t, kept.Keys())
	require.Empty(t, again.Advertisements())
}

// Whoever advertises again what goes on from before takes it over; another value takes
// its place, until somebody has.
func TestResumedIsTakenOver(t *testing.T) {
	var kept statetest.Memory
	before := starts(t, &kept, &oneHolder{})
	_, err := before.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	before.Close()

	t.Run("by the same", func(t *testing.T) {
		kept := kept.Copy()
		p := starts(t, kept, &oneHolder{})
		since := p.Advertisements()[0].Since
		writes := kept.Writes()
		a, err := p.AdvertiseService(t.Context(), greeter)
		require.NoError(t, err)
		require.Len(t, p.Advertisements(), 1)
		require.False(t, p.Advertisements()[0].Resumed)
		require.Equal(t, since, p.Advertisements()[0].Since)
		require.Equal(t, writes, kept.Writes(), "it is there already")
		_, err = p.AdvertiseService(t.Context(), moved)
		require.ErrorIs(t, err, ErrAdvertised)
		require.NoError(t, a.Withdraw())
		require.Empty(t, kept.Keys())
	})
	t.Run("by another", func(t *testing.T) {
		kept := kept.Copy()
		p := starts(t, kept, &oneHolder{})
		_, err := p.AdvertiseService(t.Context(), moved)
		require.NoError(t, err)
		for _, p := range []*Publisher{p, starts(t, kept.Copy(), &oneHolder{})} {
			require.Len(t, p.Advertisements(), 1)
			require.Equal(t, moved.Endpoint, p.Advertisements()[0].Offer.Endpoint)
		}
		_, err = p.AdvertiseService(t.Context(), greeter)
		require.ErrorIs(t, err, ErrAdvertised)
	})
	t.Run("not by who gives up", func(t *testing.T) {
		kept := kept.Copy()
		p := starts(t, kept, &oneHolder{})
		ctx, giveUp := context.WithCancel(t.Context())
		var once sync.Once
		kept.FailWith(func(op string, _ []byte) (err error) {
			once.Do(func() { giveUp(); err = context.Canceled })
			return err
		})
		_, err := p.AdvertiseService(ctx, moved)
		require.ErrorIs(t, err, context.Canceled)
		eventually(t, func() bool { all := p.Advertisements(); return len(all) == 1 && all[0].Saved }, "it goes on")
		for _, p := range []*Publisher{p, starts(t, kept.Copy(), &oneHolder{})} {
			require.Empty(t, p.Advertisements()[0].Offer.Endpoint)
			require.True(t, p.Advertisements()[0].Resumed)
		}
	})
}

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

// Many that go on are no burst, and none begins before there is somebody.
func TestResumedAreSpread(t *testing.T) {
	const many = 1000
	synctest.Test(t, func(t *testing.T) {
		var kept statetest.Memory
		before := starts(t, &kept, &oneHolder{})
		for i := range many {
			_, err := before.Advertise(t.Context(), fmt.Append(nil, i), dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(3600)}))
			require.NoError(t, err)
		}
		before.Close()

		net := &oneHolder{}
		other := dhttest.PeerID(t)
		p := starts(t, &kept, net, func(c *Config) {
			require.NoError(t, c.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
		})
		synctest.Wait()
		require.EqualValues(t, many, p.cfg.Routing.Records().Stats().Keys, "kept here at once")
		time.Sleep(time.Minute)
		require.Empty(t, net.puts)
		start := time.Now()
		p.Met()
		time.Sleep(many*time.Second/resumedRate + time.Second)
		synctest.Wait()
		net.mu.Lock()
		require.Len(t, net.puts, many, "all are out by then")
		perSecond := make(map[int]int)
		for _, at := range net.puts {
			perSecond[int(at.Sub(start)/time.Second)]++
		}
		net.mu.Unlock()
		for second, n := range perSecond {
			require.LessOrEqual(t, n, resumedRate+1, "in second %d", second)
		}
		p.Close()
	})
}

// Who advertises before there is anybody is published as soon as there is.
func TestPublishedOnceSomebodyIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &oneHolder{}
		p := newPublisher(t, net)
		a, err := p.Advertise(t.Context(), []byte("k"), dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(86400)}))
		require.NoError(t, err)
		time.Sleep(5 * time.Hour)
		_, err = a.Last()
		require.Error(t, err)
		other := dhttest.PeerID(t)
		require.NoError(t, p.cfg.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
		p.Met()
		time.Sleep(time.Second)
		_, err = a.Last()
		require.NoError(t, err)
		p.Close()
	})
}

// No more are saved than go on.
func TestNoMoreAreSavedThanGoOn(t *testing.T) {
	var kept statetest.Memory
	p := starts(t, &kept, &oneHolder{})
	p.maxSaved = 2
	var all []*Advertisement
	for i := range 3 {
		a, err := p.Advertise(t.Context(), []byte{byte(i)}, dhttest.Value("me"))
		require.Equal(t, i == 2, errors.Is(err, ErrNotSaved))
		all = append(all, a)
	}
	require.Len(t, kept.Keys(), 2)
	require.NoError(t, all[0].Withdraw())
	_, err := p.Advertise(t.Context(), []byte{2}, dhttest.Value("me"))
	require.NoError(t, err, "there is room again")
	require.Len(t, kept.Keys(), 2)
}

// Whatever is advertised and withdrawn at once, the state has what is advertised.
func TestAdvertisedAndWithdrawnAtOnce(t *testing.T) {
	const names, users, rounds = 3, 8, 60
	var kept statetest.Memory
	p := starts(t, &kept, &oneHolder{})
	kept.FailWith(func(string, []byte) error {
		if rand.N(10) == 0 {
			return errDisk
		}
		return nil
	})
	var all sync.WaitGroup
	for range users {
		all.Go(func() {
			for range rounds {
				offer := greeter
				offer.Name = fmt.Sprint("service ", rand.N(names))
				a, err := p.AdvertiseService(t.Context(), offer)
				if err != nil && !errors.Is(err, ErrNotSaved) {
					t.Error(err)
					return
				}
				for a.Withdraw() != nil { // until it is gone
				}
			}
		})
	}
	all.Wait()
	require.Empty(t, p.Advertisements())
	require.Empty(t, kept.Keys())
	require.Zero(t, p.saved)

	kept.FailWith(nil)
	for range 20 {
		a, err := p.AdvertiseService(t.Context(), greeter)
		require.NoError(t, err)
		var both sync.WaitGroup
		both.Go(func() { _ = a.Withdraw() })
		b, err := p.AdvertiseService(t.Context(), greeter)
		require.NoError(t, err)
		both.Wait()
		require.Len(t, kept.Keys(), 1, "the second was acknowledged")
		require.NoError(t, b.Withdraw())
		require.Empty(t, kept.Keys())
	}
}

// slowDelete is a state whose deletions wait for a test.
type slowDelete struct {
	*statetest.Memory
	deleting, goOn chan struct{}
}

func (s slowDelete) Delete(ctx context.Context, key []byte) error {
	s.deleting <- struct{}{}
	<-s.goOn
	return s.Memory.Delete(ctx, key)
}

// Who advertises what is just being withdrawn is not forgotten with it.
func TestAdvertisedWhileItIsForgotten(t *testing.T) {
	s := slowDelete{new(statetest.Memory), make(chan struct{}), make(chan struct{})}
	p := starts(t, s, &oneHolder{})
	first, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	var both sync.WaitGroup
	both.Go(func() { _ = first.Withdraw() })
	<-s.deleting
	both.Go(func() {
		if _, err := p.AdvertiseService(t.Context(), greeter); err != nil {
			t.Error(err)
		}
	})
	eventually(t, func() bool { return len(p.Advertisements()) == 1 }, "the second is there")
	require.Len(t, s.Keys(), 1)
	s.goOn <- struct{}{}
	both.Wait()
	require.Len(t, s.Keys(), 1)
}

// stalled is a network in which a question takes as long as a test wants.
type stalled struct {
	oneHolder
	asked, goOn chan struct{}
}

func (s *stalled) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	select {
	case s.asked <- struct{}{}:
		<-s.goOn
	default:
	}
	return s.oneHolder.Query(ctx, to, m)
}

// The same where the second is saved before the first is forgotten.
func TestAdvertisedBeforeItIsForgotten(t *testing.T) {
	var kept statetest.Memory
	net := &stalled{asked: make(chan struct{}), goOn: make(chan struct{})}
	other := dhttest.PeerID(t)
	p := starts(t, &kept, net, func(c *Config) {
		require.NoError(t, c.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
	})
	first, err := p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	<-net.asked // its publication is under way, and keeps Withdraw waiting
	withdrawn := make(chan error)
	go func() { withdrawn <- first.Withdraw() }()
	eventually(t, func() bool { return len(p.Advertisements()) == 0 }, "withdrawn")
	_, err = p.AdvertiseService(t.Context(), greeter)
	require.NoError(t, err)
	close(net.goOn)
	require.NoError(t, <-withdrawn)
	require.Len(t, kept.Keys(), 1)
	require.Len(t, p.Advertisements(), 1)
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
