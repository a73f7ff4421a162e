package publication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// countedStore ends a test when it has been written to often enough.
type countedStore struct {
	records.Store
	left   int
	enough context.CancelFunc
}

func (c *countedStore) Update(ctx context.Context, key []byte, d records.Durability, change func([]records.Record) []records.Record, done func(error)) {
	if c.left--; c.left == 0 {
		c.enough()
	}
	c.Store.Update(ctx, key, d, change, done)
}

// A node that stays alone goes on trying, and never faster than the ttl asks for.
func TestAdvertisedAloneForLong(t *testing.T) {
	const ttl, publications = 10 * time.Second, 200
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		store := &countedStore{Store: records.NewMemoryStore(), left: publications, enough: cancel}
		kept, err := records.New(records.WithStore(store))
		require.NoError(t, err)
		defer kept.Close()
		p := newPublisher(t, &oneHolder{}, routing.WithRecords(kept))
		value, err := values.Parse(dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))}))
		require.NoError(t, err)

		start := time.Now()
		publish(ctx, p, value)
		require.Greater(t, time.Since(start), publications*ttl*6/10)
		require.Less(t, time.Since(start), publications*ttl*8/10)
	})
}

// publish has a publisher publish a value until ctx ends.
func publish(ctx context.Context, p *Publisher, value values.Value) {
	key := []byte("k")
	p.run(&publication{
		subject:   subject{key: key, base: value, now: func() replication.Copy { return replication.Copy{Key: key, Value: value} }},
		ctx:       ctx,
		published: make(chan struct{}),
	}, schedule{pause: firstRepublish}, false)
}

// flakyStore fails at some of its updates, which are counted from 1.
type flakyStore struct {
	records.Store
	fails func(update int) bool
	count atomic.Int32
}

func (f *flakyStore) Update(ctx context.Context, key []byte, d records.Durability, change func([]records.Record) []records.Record, done func(error)) {
	if f.fails(int(f.count.Add(1))) {
		done(errors.New("disk busy"))
		return
	}
	f.Store.Update(ctx, key, d, change, done)
}

// oneHolder is a network with one node that keeps what it is given.
type oneHolder struct {
	mu   sync.Mutex
	puts []time.Time
}

func (*oneHolder) Send(context.Context, routing.Contact, wire.Message) error { return nil }

func (o *oneHolder) Query(_ context.Context, _ routing.Contact, m wire.Message) (wire.Message, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := m.(*wire.Call); ok {
		o.puts = append(o.puts, time.Now())
		return &wire.Reply{}, nil
	}
	return &wire.FindNodeReply{}, nil
}

// A disk that fails is no reason to be gone from the network, and is tried again.
func TestAdvertisedThroughABusyDisk(t *testing.T) {
	const ttl = 300 * time.Second
	tests := map[string]struct{ fails func(int) bool }{
		"one write fails": {func(n int) bool { return n == 2 }},
		"all do for long": {func(n int) bool { return n < 10 }},
		"every write":     {func(n int) bool { return true }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*ttl)
				defer cancel()
				store := &flakyStore{Store: records.NewMemoryStore(), fails: test.fails}
				kept, err := records.New(records.WithStore(store))
				require.NoError(t, err)
				defer kept.Close()
				net := &oneHolder{}
				p := newPublisher(t, net, routing.WithRecords(kept))
				other := dhttest.PeerID(t)
				require.NoError(t, p.cfg.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
				value, err := values.Parse(dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))}))
				require.NoError(t, err)
				publish(ctx, p, value)
				require.GreaterOrEqual(t, len(net.puts), 5)
				for i := 1; i < len(net.puts); i++ {
					require.LessOrEqual(t, net.puts[i].Sub(net.puts[i-1]), ttl*8/10, "the holders' copies are renewed in time")
				}
				require.GreaterOrEqual(t, store.count.Load(), int32(6), "and the own copy is tried again")
			})
		})
	}
}

func TestRepublishedInTime(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 5 * time.Second, provider.DefaultTTL, values.MaxTTL} {
		seen := make(map[time.Duration]bool)
		for range 100 {
			after := republishAfter(ttl)
			require.LessOrEqual(t, after, ttl*8/10)
			require.Greater(t, after, ttl*7/10)
			seen[after] = true
		}
		require.Greater(t, len(seen), 50, "with jitter")
	}
}

// A zero byte belongs to the key, or to the provider, as it stands.
func TestAdvertisementsAreToldApart(t *testing.T) {
	p := newPublisher(t, &oneHolder{})
	for _, of := range [][2]string{{"key", "a\x00b"}, {"key\x00a", "b"}, {"key\x00", "a\x00b"}} {
		_, err := p.Advertise(t.Context(), []byte(of[0]), dhttest.Value(of[1]))
		require.NoError(t, err)
	}
	require.Len(t, p.publications, 3)
}

// A value for which this node has no room under its key is put elsewhere all the same.
func TestStoredUnderAFullKey(t *testing.T) {
	net := new(oneHolder)
	p := newPublisher(t, net)
	other := dhttest.PeerID(t)
	require.NoError(t, p.cfg.Routing.Admit(routing.Contact{ID: routing.IDFromPeer(other), Peer: other, Verified: true}))
	key := []byte("full")
	for i := range records.MaxProviders {
		id := fmt.Append(nil, "owner ", i)
		require.NoError(t, p.cfg.Routing.Records().Store(t.Context(), records.Put{Key: key, Value: []byte("v"), NodeID: id, From: id}))
	}
	replicas, err := p.Store(t.Context(), key, dhttest.Value("me"))
	require.ErrorIs(t, err, ErrNotKept)
	require.ErrorIs(t, err, records.ErrKeyFull)
	require.Len(t, replicas.Acknowledged, 1)
}
