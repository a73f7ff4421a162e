package peerhost

import (
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// kadPrefix makes our kad-dht /macula/kad/1.0.0, a network apart from IPFS's.
const kadPrefix = "/macula"

// newKad starts kad-dht as a router of peers: Macula's records live in our own routing server.
func newKad(h host.Host, cfg Config) (*dht.IpfsDHT, *kadHost, error) {
	seen := &kadHost{Host: h, server: cfg.KadServer, handlers: make(map[protocol.ID]network.StreamHandler)}
	kad, err := dht.New(seen,
		dht.ProtocolPrefix(kadPrefix),
		dht.Mode(dht.ModeServer), // as far as it knows, see kadHost
		dht.DisableProviders(),
		dht.DisableValues(),
		dht.AddressFilter(leavingOut(h.Addrs)),
		dht.RoutingTablePeerDiversityFilter(newKadDiversity(h, cfg.Conns.Everywhere)),
		dht.BootstrapPeers(cfg.Bootstrap...), // none means none: IPFS's are never used
	)
	return kad, seen, err
}

// kadHost is the host as kad-dht sees it. What kad-dht answers queries with is on the real host only while this node
// is a server.
//
// kad-dht can not be told to change its mode. Its auto mode follows EvtLocalReachabilityChanged, which is AutoNAT v1's;
// one of our own beside it would contradict it, and the host's addresses and relay service follow that event too. To
// close kad-dht and start another one loses its routing table. But all that its mode is to others is whether its
// handler is on the host.
type kadHost struct {
	host.Host

	mu       sync.Mutex // held while handlers are put on the host or taken off
	server   bool
	met      func(peer.ID) bool // nil: anybody may ask
	handlers map[protocol.ID]network.StreamHandler
}

// SetStreamHandler takes a handler of kad-dht.
func (h *kadHost) SetStreamHandler(id protocol.ID, handler network.StreamHandler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handlers[id] = handler
	if h.server {
		h.put(id)
	}
}

// RemoveStreamHandler takes a handler of kad-dht away.
func (h *kadHost) RemoveStreamHandler(id protocol.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.handlers, id)
	h.Host.RemoveStreamHandler(id)
}

// SetKadServer has kad-dht answer queries, or not.
func (h *Host) SetKadServer(server bool) { h.kadHost.setServer(server) }

// setServer has kad-dht answer queries, or not. When it ends to, the streams that it answered on are reset.
func (h *kadHost) setServer(server bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if server == h.server {
		return
	}
	h.server = server
	for id := range h.handlers {
		if server {
			h.put(id)
		} else {
			h.Host.RemoveStreamHandler(id)
		}
	}
	if !server {
		h.resetInbound()
	}
}

// put puts a handler on the real host. A stream that was negotiated before it was taken off may come only after.
func (h *kadHost) put(id protocol.ID) {
	handler := h.handlers[id]
	h.Host.SetStreamHandler(id, func(s network.Stream) {
		h.mu.Lock()
		server, met := h.server, h.met
		h.mu.Unlock()
		if !server {
			s.Reset()
			return
		}
		if met != nil && !isMet(s.Conn(), met) {
			s.ResetWithError(network.StreamErrorCode(proto.ResetConnectFirst))
			return
		}
		handler(s)
	})
}

// AnswerKadOnlyTo has kad-dht answer those alone of whom met reports that they have CONNECTed.
func (h *Host) AnswerKadOnlyTo(met func(peer.ID) bool) {
	h.kadHost.mu.Lock()
	defer h.kadHost.mu.Unlock()
	h.kadHost.met = met
}

// A CONNECT is sent after identify, and kad-dht asks at once: it waits this long for the CONNECT.
const (
	meetWithin = 3 * time.Second
	meetTick   = 25 * time.Millisecond
)

// isMet reports whether the peer at the other end of a connection is met in time.
func isMet(conn network.Conn, met func(peer.ID) bool) bool {
	for end := time.Now().Add(meetWithin); !met(conn.RemotePeer()); time.Sleep(meetTick) {
		if conn.IsClosed() || time.Now().After(end) {
			return false
		}
	}
	return true
}

func (h *kadHost) resetInbound() {
	for _, conn := range h.Network().Conns() {
		for _, s := range conn.GetStreams() {
			if h.handlers[s.Protocol()] != nil && s.Stat().Direction == network.DirInbound {
				s.Reset()
			}
		}
	}
}
