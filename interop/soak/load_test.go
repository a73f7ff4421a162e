package soak

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/interop/raw"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	realm    = "be.cortexiq.test"
	topic    = realm + ".news"
	keys     = 2000
	maxLife  = 120 // of what is stored, in seconds
	opTime   = 10 * time.Second
	networks = 16 // of loopback, from which clients come
)

// target is a node that is used.
type target struct {
	endpoint string
	udp      netip.AddrPort
	info     peer.AddrInfo
}

func (to *target) contact() routing.Contact {
	return routing.Contact{ID: routing.IDFromPeer(to.info.ID), Peer: to.info.ID, Addrs: to.info.Addrs}
}

// newTarget returns the node at an endpoint and a multiaddr.
func newTarget(t *testing.T, endpoint, addr string) *target {
	t.Helper()
	info, err := peer.AddrInfoFromString(addr)
	require.NoError(t, err)
	udp, err := netip.ParseAddrPort(endpoint[len("https://"):])
	require.NoError(t, err)
	return &target{endpoint, udp, *info}
}

// load is clients that come and go, and what they do.
type load struct {
	t       *testing.T
	targets []*target
	steady  *client.Client // stays

	// resting is held by who looks at what the nodes hold: no client is there then.
	resting sync.RWMutex
	ending  chan struct{}
	running sync.WaitGroup
	kinds   []*kind
}

// kind is one kind of what clients do.
type kind struct {
	name         string
	every        time.Duration
	do           func(ctx context.Context, rng *rand.Rand, to *target) error
	done, failed atomic.Int64
	last         atomic.Value // why the last one failed
}

// startLoad has clients use the targets until the load is ended; a fast one does a lot more.
func startLoad(t *testing.T, targets []*target, seed uint64, fast bool) *load {
	t.Helper()
	l := &load{t: t, targets: targets, ending: make(chan struct{})}
	h, err := newPeer(0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	l.steady, err = client.New(h)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.steady.Close()) })
	l.kinds = []*kind{
		{name: "put by a libp2p peer", every: 100 * time.Millisecond, do: l.put},
		{name: "get by a libp2p peer", every: 100 * time.Millisecond, do: l.get},
		{name: "stay of an Erlang client", every: 500 * time.Millisecond, do: l.visit},
		{name: "stay of a libp2p peer that advertises", every: 2 * time.Second, do: l.advertise},
		{name: "stay of an Erlang node", every: 5 * time.Second, do: l.bootstrap},
	}
	for i, k := range l.kinds {
		every := k.every
		if fast {
			every /= 5
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		l.running.Go(func() { l.run(k, every, rng) })
	}
	return l
}

// run does one thing again and again.
func (l *load) run(k *kind, every time.Duration, rng *rand.Rand) {
	pace := time.NewTicker(every)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-l.ending:
			return
		}
		l.resting.RLock()
		ctx, cancel := context.WithTimeout(context.Background(), opTime)
		err := k.do(ctx, rng, l.targets[rng.IntN(len(l.targets))])
		cancel()
		l.resting.RUnlock()
		k.done.Add(1)
		if err != nil {
			k.failed.Add(1)
			k.last.Store(err.Error())
		}
	}
}

// end has all clients go.
func (l *load) end() {
	close(l.ending)
	l.running.Wait()
}

// report says what was done, and requires that it went well.
func (l *load) report() {
	l.t.Helper()
	for _, k := range l.kinds {
		done, failed := k.done.Load(), k.failed.Load()
		l.t.Logf("%d times a %s, %d failed", done, k.name, failed)
		require.Positive(l.t, done, k.name)
		require.LessOrEqual(l.t, failed, done/100, "%s: %v", k.name, k.last.Load())
	}
}

// rest calls look while no client is there.
func (l *load) rest(look func()) {
	l.resting.Lock()
	defer l.resting.Unlock()
	look()
}

func keyOf(rng *rand.Rand) []byte { return maculadht.ServiceKey(fmt.Sprint(rng.IntN(keys))) }

// valueOf returns a value of a provider.
func valueOf(rng *rand.Rand, id []byte) wire.Raw {
	return wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(id)},
		wire.Pair{Key: "endpoint", Value: wire.RawBytes([]byte("https://127.0.0.1:1"))},
		wire.Pair{Key: "metadata", Value: wire.RawMap(wire.Pair{Key: "fill", Value: wire.RawBytes(make([]byte, rng.IntN(1000)))})},
		wire.Pair{Key: "ttl", Value: wire.RawInt(1 + rng.Int64N(maxLife))},
	)
}

// address is one of a network of loopback.
func address(rng *rand.Rand) string { return fmt.Sprintf("127.%d.0.1", 10+rng.IntN(networks)) }

// newPeer returns a libp2p host that only dials, or listens in a network.
func newPeer(network int) (host.Host, error) {
	listen := libp2p.NoListenAddrs
	if network > 0 {
		listen = libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/127.%d.0.1/udp/0/quic-v1", network))
	}
	return libp2p.New(listen, libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
}

func (l *load) put(ctx context.Context, rng *rand.Rand, to *target) error {
	provider := maculadht.ServiceKey(fmt.Sprint("provider ", rng.IntN(50)))
	return client.Put(ctx, l.steady, to.contact(), procedures.StoreArgs{Key: keyOf(rng), Value: valueOf(rng, provider)})
}

func (l *load) get(ctx context.Context, rng *rand.Rand, to *target) error {
	_, err := client.FindValue(ctx, l.steady, to.contact(), keyOf(rng))
	return err
}

// visit is an Erlang client's: it CONNECTs under an id of its own, does a few things, and
// leaves, one in four without a word.
func (l *load) visit(ctx context.Context, rng *rand.Rand, to *target) (err error) {
	port, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(address(rng))})
	if err != nil {
		return err
	}
	c := raw.New(port)
	defer c.Close() // of what is closed already, where it goes without a word
	conn, err := c.Dial(ctx, to.udp)
	if err != nil {
		return err
	}
	id := binary.BigEndian.AppendUint64(make([]byte, 24), rng.Uint64())
	s, err := conn.Connect(ctx, id, realm)
	if err != nil {
		return err
	}
	if err := s.Send(ctx, &wire.Store{Key: keyOf(rng), Value: valueOf(rng, id)}, &wire.Subscribe{Topics: []string{topic}},
		&wire.Publish{Topic: topic, Payload: []byte("p"), MessageID: id[:16]}); err != nil {
		return err
	}
	for range 3 {
		if err := conn.Store(ctx, keyOf(rng), valueOf(rng, id)); err != nil {
			return err
		}
		if _, err := conn.Find(ctx, keyOf(rng)); err != nil {
			return err
		}
	}
	for _, m := range []wire.Message{&wire.Ping{}, &wire.FindNode{Target: keyOf(rng)}, &wire.Call{Procedure: wire.ProcedureListGateways, CallID: id[:16], Args: wire.RawMap()}} {
		if _, err := conn.Ask(ctx, m); err != nil {
			return err
		}
	}
	if rng.IntN(4) == 0 {
		_ = port.Close() // nobody is told
	}
	return nil
}

// advertise is a libp2p peer's, that joins, advertises a service, looks for others, and
// leaves.
func (l *load) advertise(ctx context.Context, rng *rand.Rand, to *target) (err error) {
	h, err := newPeer(10 + rng.IntN(networks))
	if err != nil {
		return err
	}
	defer h.Close()
	mode := maculadht.ModeClient
	if rng.IntN(2) == 0 {
		mode = maculadht.ModeServer
	}
	s, err := maculadht.New(h, maculadht.WithRealm(realm), maculadht.WithMode(mode))
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Join(ctx, to.info); err != nil {
		return err
	}
	select {
	case <-s.Joined():
	case <-ctx.Done():
		return fmt.Errorf("join: %w", context.Cause(ctx))
	}
	name := fmt.Sprint("service ", rng.IntN(20))
	if _, err := s.AdvertiseService(ctx, maculadht.Offer{Name: name, Endpoint: "https://127.0.0.1:1", TTL: time.Minute}); err != nil {
		return err
	}
	_, err = s.FindProviders(ctx, name)
	return err
}

// bootstrap is an Erlang node's, that is whole: it joins, advertises, asks, publishes, and
// is gone.
func (l *load) bootstrap(ctx context.Context, rng *rand.Rand, to *target) (err error) {
	g, err := glass.Start(glass.Realm(realm), glass.Listen(address(rng)+":0"))
	if err != nil {
		return err
	}
	defer g.Close()
	s, err := g.Bootstrap(ctx, to.endpoint)
	if err != nil {
		return err
	}
	name := fmt.Sprint("service ", rng.IntN(20))
	s.Advertise(name)
	if err := s.Subscribe(topic); err != nil {
		return err
	}
	if err := s.Publish(glass.Publication{Topic: topic, Payload: wire.RawBytes([]byte("p"))}); err != nil {
		return err
	}
	_, err = g.FindValue(ctx, to.endpoint, maculadht.ServiceKey(name))
	return err
}
