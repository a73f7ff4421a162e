package maculadht

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	kadevents "github.com/libp2p/go-libp2p/core/routing"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

const (
	simnetShortest = 20 * time.Millisecond // round trip
	simnetLongest  = 150 * time.Millisecond
	simnetLost     = time.Hour // when a lost packet arrives: long after anybody waits for it
	simnetBoots    = 3         // earlier hosts to which a new one connects
	simnetFills    = 2         // random targets by which it fills its tables
	simnetCalm     = 5 * time.Second
)

// simWorld is hosts on a simulated network, in virtual time. Each speaks
// /macula/dht/1.0 and kad-dht's protocol.
type simWorld struct {
	t      *testing.T
	rng    *rand.Rand
	net    *simnet.Simnet
	hosts  []*simHost
	oneWay map[[2]string]time.Duration // by the IP addresses of both ends, both ways
	parted atomic.Bool                 // packets between the two sides are lost, see sideOf
}

// simHost is one of its hosts.
type simHost struct {
	host.Host

	service *Service
	asked   *questions
	kad     *kaddht.IpfsDHT
}

// newSimWorld starts n hosts that do not know each other. Of every 100 packets
// loss are lost.
func newSimWorld(t *testing.T, n, loss int, seed uint64) *simWorld {
	t.Helper()
	w := &simWorld{t: t, rng: rand.New(rand.NewPCG(seed, 1)), oneWay: make(map[[2]string]time.Duration)}
	for a := range n {
		for b := range a {
			there, back := simIP(a).String(), simIP(b).String()
			roundTrip := simnetShortest + time.Duration(w.rng.Int64N(int64(simnetLongest-simnetShortest)))
			w.oneWay[[2]string{there, back}] = roundTrip / 2
			w.oneWay[[2]string{back, there}] = roundTrip / 2
		}
	}
	sides := make(map[string]int)
	for i := range n {
		sides[simIP(i).String()] = sideOf(i)
	}
	losses := rand.New(rand.NewPCG(seed, 2)) // of the network's one goroutine
	w.net = &simnet.Simnet{
		Logger: slog.New(slog.DiscardHandler),
		LatencyFunc: func(p *simnet.Packet) time.Duration {
			from, to := p.From.(*net.UDPAddr).IP.String(), p.To.(*net.UDPAddr).IP.String()
			if losses.IntN(100) < loss || w.parted.Load() && sides[from] != sides[to] {
				return simnetLost
			}
			return w.oneWay[[2]string{from, to}]
		},
	}
	w.net.Start()
	for i := range n {
		w.hosts = append(w.hosts, w.newHost(i))
	}
	return w
}

// sideOf is the side of a partition on which a host is.
func sideOf(i int) int { return i % 2 }

// simIP is a host's address, in a network of its own.
func simIP(i int) net.IP { return simnet.IntToPublicIPv4(i << 8) }

func (w *simWorld) newHost(i int) *simHost {
	w.t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(w.rng.Uint32())
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed))
	require.NoError(w.t, err)
	link := simnet.LinkSettings{BitsPerSecond: 100 * simlibp2p.OneMbps}
	h, err := libp2p.New(
		libp2p.Identity(key),
		libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%s/udp/8000/quic-v1", simIP(i))),
		libp2p.Transport(libp2pquic.NewTransport),
		simlibp2p.QUICSimnet(w.net, simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}),
		libp2p.DisableIdentifyAddressDiscovery(), // it stalls synctest, as simlibp2p knows
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	)
	require.NoError(w.t, err)
	s, err := New(h)
	require.NoError(w.t, err)
	sh := &simHost{Host: h, service: s, asked: &questions{Network: s.router}}
	s.lookups, err = lookup.New(s.Routing(), sh.asked)
	require.NoError(w.t, err)
	sh.kad, err = kaddht.New(h,
		kaddht.ProtocolPrefix("/macula"),
		kaddht.Mode(kaddht.ModeServer),
		kaddht.DisableProviders(),
		kaddht.DisableValues(),
		kaddht.BootstrapPeers(),
	)
	require.NoError(w.t, err)
	return sh
}

// close stops all, so that nothing is left in the bubble.
func (w *simWorld) close() {
	var closing sync.WaitGroup
	for _, h := range w.hosts {
		closing.Go(func() {
			if err := h.service.Close(); err != nil {
				w.t.Error(err)
			}
			if err := h.kad.Close(); err != nil {
				w.t.Error(err)
			}
			if err := h.Close(); err != nil {
				w.t.Error(err)
			}
		})
	}
	closing.Wait()
	w.net.Close()
}

// join has every host meet the others, the same way in both networks: it dials
// some that came before, then looks up its own id and some random targets. Who
// goes first in that changes from host to host.
func (w *simWorld) join() {
	w.t.Helper()
	for i, h := range w.hosts[1:] {
		for _, j := range w.rng.Perm(i + 1)[:min(i+1, simnetBoots)] {
			w.connect(h, w.hosts[j])
		}
	}
	time.Sleep(simnetCalm) // for CONNECTs and kad-dht's checks
	var filling sync.WaitGroup
	for i, h := range w.hosts {
		own := routing.IDFromPeer(h.ID())
		var keys []string
		for range simnetFills {
			keys = append(keys, w.key())
		}
		filling.Go(func() {
			inTurn(i, func() { h.findNodes(w.t, own[:]) }, func() { h.closestPeers(w.t, string(h.ID())) })
			for _, key := range keys {
				inTurn(i, func() { h.findNodes(w.t, keyOf(key)) }, func() { h.closestPeers(w.t, key) })
			}
		})
	}
	filling.Wait()
	time.Sleep(simnetCalm)
}

// connect dials, again where loss has foiled the handshake.
func (w *simWorld) connect(from, to *simHost) {
	w.t.Helper()
	var err error
	for range 3 {
		ctx, cancel := context.WithTimeout(w.t.Context(), dhttest.Patience)
		err = from.Connect(ctx, peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()})
		cancel()
		if err == nil {
			return
		}
	}
	require.NoError(w.t, err)
}

// inTurn does two things, in an order that changes with i.
func inTurn(i int, one, other func()) {
	if i%2 == 1 {
		one, other = other, one
	}
	one()
	other()
}

// key returns a random key whose SHA-256 is a target in both networks.
func (w *simWorld) key() string { return fmt.Sprintf("key %016x", w.rng.Uint64()) }

// nearest returns the k peers, of all but one, that are nearest to a target.
func (w *simWorld) nearest(target routing.ID, but *simHost) []peer.ID {
	var others []peer.ID
	for _, h := range w.hosts {
		if h != but {
			others = append(others, h.ID())
		}
	}
	slices.SortFunc(others, func(a, b peer.ID) int {
		return target.CompareDistance(routing.IDFromPeer(a), routing.IDFromPeer(b))
	})
	return others[:min(len(others), routing.BucketSize)]
}

// looked is what came of one lookup.
type looked struct {
	peers    []peer.ID
	took     time.Duration
	messages int
	err      error
}

// findNodes is our lookup.
func (h *simHost) findNodes(t *testing.T, target []byte) looked {
	before, start := h.asked.sent.Load(), time.Now()
	found, err := h.service.FindNodes(t.Context(), target)
	l := looked{took: time.Since(start), messages: int(h.asked.sent.Load() - before), err: err}
	for _, c := range found.Closest {
		l.peers = append(l.peers, c.Peer)
	}
	return l
}

// closestPeers is kad-dht's lookup.
func (h *simHost) closestPeers(t *testing.T, key string) looked {
	ctx, cancel := context.WithTimeout(t.Context(), lookup.DefaultLookupTimeout)
	defer cancel()
	ctx, events := kadevents.RegisterForQueryEvents(ctx)
	sent := make(chan int)
	go func() {
		n := 0
		for e := range events {
			if e.Type == kadevents.SendingQuery {
				n++
			}
		}
		sent <- n
	}()
	start := time.Now()
	peers, err := h.kad.GetClosestPeers(ctx, key)
	l := looked{peers: peers, took: time.Since(start), err: err}
	cancel() // ends the events
	l.messages = <-sent
	return l
}

// questions counts what a service's lookups ask. As kad-dht's own events do, it
// counts a question when it is handed on to be sent, whether or not an answer
// is waited for, and not what the two ask beside their lookups.
type questions struct {
	routing.Network

	sent atomic.Int64
}

func (q *questions) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	q.sent.Add(1)
	return q.Network.Query(ctx, to, m)
}
