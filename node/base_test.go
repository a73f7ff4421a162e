package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

const (
	patience = hosttest.Patience
	tick     = 10 * time.Millisecond
)

func nodeInfo(c routing.Contact) dht.NodeInfo {
	return dht.NodeInfo{NodeID: c.NodeID, Peer: c.Peer, Addrs: c.Addrs}
}

// kadQuestions is what a node is asked in kad-dht.
type kadQuestions struct {
	mu   sync.Mutex
	read []byte
}

// noteKad notes what a node is asked in kad-dht from now on. It answers as before.
func noteKad(t *testing.T, n *Node) *kadQuestions {
	answer := handlerOf(t, n.host.Base, kadProtocol)
	q := new(kadQuestions)
	n.host.Base.SetStreamHandler(kadProtocol, func(s network.Stream) { require.NoError(t, answer(kadProtocol, notedStream{s, q})) })
	return q
}

const kadProtocol = "/macula/kad/1.0.0"

// handlerOf returns what a host answers a protocol with, as who agrees on it gets it.
func handlerOf(t *testing.T, h host.Host, id protocol.ID) func(protocol.ID, io.ReadWriteCloser) error {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	selected := make(chan error, 1)
	go func() { selected <- multistream.SelectProtoOrFail(id, theirs) }()
	_, handler, err := h.Mux().Negotiate(ours)
	require.NoError(t, err)
	require.NoError(t, <-selected)
	return handler
}

// about counts the questions that have a peer for key. There are others at any time:
// kad-dht asks whom it met whether it answers, and looks itself up.
func (q *kadQuestions) about(p peer.ID) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return bytes.Count(q.read, []byte(p))
}

type notedStream struct {
	network.Stream
	q *kadQuestions
}

func (s notedStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	s.q.read = append(s.q.read, b[:n]...)
	return n, err
}

// A question of one DHT to a contact that has gone is no lookup in the other.
func TestDeadContactStartsNoKadLookup(t *testing.T) {
	t.Parallel()
	b := startNode(t)
	asked := noteKad(t, b)
	a := startNode(t, bootstrappedBy(b))
	require.Eventually(t, func() bool { return a.knows(b) && a.host.Kad.RoutingTable().Size() > 0 }, 2*patience, tick)

	dead := peerOf(t, newKey(t))
	contact := routing.Contact{ID: routing.IDFromPeer(dead), Peer: dead, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/1/quic-v1")}}
	_, err := client.Ping(patient(t), a.Service().Client(), contact)
	require.Error(t, err)
	_, err = a.Service().Handlers().QueryPeer(patient(t), nodeInfo(contact), &wire.Ping{})
	require.Error(t, err)
	require.Zero(t, asked.about(dead))

	// One that nobody knows an address of is sought, once.
	contact.Addrs = nil
	unknown := peerOf(t, newKey(t))
	contact.ID, contact.Peer = routing.IDFromPeer(unknown), unknown
	for range 3 {
		_, err = a.Service().Handlers().QueryPeer(patient(t), nodeInfo(contact), &wire.Ping{})
		require.ErrorContains(t, err, "no known address")
	}
	require.Equal(t, 1, asked.about(unknown))
}

// A contact without addresses is reached where kad-dht knows the way.
func TestContactIsFoundThroughKad(t *testing.T) {
	middle := startNode(t)
	asker, sought := startNode(t, bootstrappedBy(middle)), startNode(t, bootstrappedBy(middle))
	require.Eventually(t, func() bool {
		return asker.knows(middle) && asker.host.Kad.RoutingTable().Find(middle.host.ID()) != "" &&
			middle.host.Kad.RoutingTable().Find(sought.host.ID()) != "" && len(middle.Host().Peerstore().Addrs(sought.host.ID())) > 0
	}, 2*patience, tick)
	id := sought.host.ID()
	require.NoError(t, asker.Host().Network().ClosePeer(id))
	asker.Host().Peerstore().ClearAddrs(id)
	contact := routing.Contact{ID: routing.IDFromPeer(id), Peer: id}
	_, err := asker.Service().Handlers().QueryPeer(patient(t), nodeInfo(contact), &wire.Ping{})
	require.NoError(t, err)
}

// localhost, which is Macula's own default, means another machine to everybody else.
func TestLocalHostnameIsToldToNobodyElse(t *testing.T) {
	var log hosttest.Log
	n := startNode(t, func(c *Config) {
		c.Hostname = "localhost"
		c.Listen = []string{"/ip4/0.0.0.0/udp/0/quic-v1"}
		c.NoPortMapping = true
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	require.Equal(t, 1, log.Count("the hostname means this machine"))
	h := n.Service().Handlers()
	for at, want := range map[string]string{
		"127.0.0.1": n.Endpoint(), "192.168.7.7": "", "10.1.2.3": "", "198.51.100.7": "",
	} {
		require.Equal(t, want, h.EndpointFor(addressing.ReachOf(netip.MustParseAddr(at))), at)
	}
	onLoopback := startNode(t, func(c *Config) { c.Hostname = "localhost"; c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	require.Equal(t, 1, log.Count("the hostname means this machine"), "nobody else is on loopback")
	_, err := onLoopback.Dialer().Query(context.Background(), erlangContact(onLoopback), &wire.Ping{})
	require.NoError(t, err)
}

// Both addresses of one node are its bootstrap, and it starts late: it is joined
// over libp2p though it is known by its endpoint already.
func TestJoinedOverLibp2pThoughKnownByItsEndpoint(t *testing.T) {
	late := startNode(t)
	early := startNode(t)
	id := late.ID()
	erlang := routing.Contact{ID: id, NodeID: id[:], Endpoint: late.Endpoint(), Verified: true}
	require.NoError(t, early.Service().Routing().Admit(erlang))
	require.NoError(t, early.Service().Join(t.Context(), peer.AddrInfo{ID: late.host.ID(), Addrs: late.Host().Addrs()}))
	require.Eventually(t, func() bool { return early.knows(late) && late.knows(early) }, 2*patience, tick)
	require.Error(t, early.Service().Routing().Admit(erlang), "and stays so")
	require.True(t, early.knows(late))
	require.Len(t, early.Service().Routing().Contacts(), 1)
}
