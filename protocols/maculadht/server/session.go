package server

import (
	"net/netip"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Session is what is known of the connection that a stream is on. The streams of
// a connection share it.
type Session struct {
	Dialect Dialect
	// Peer is the libp2p peer at the other end, proven by its connection; empty
	// on a transport that proves nothing.
	Peer peer.ID
	// Remote is the address of the other end; invalid where it is hidden by a
	// relay.
	Remote netip.AddrPort
	// Source names the peer to the budgets: the peer id, or the IP address.
	Source string
	// Account limits what the peer may ask and what waits for it; nil for no
	// limit.
	Account Account
	// Admit takes a CONNECT whose realm is ours, before it is answered. It
	// returns nil, or why the peer is turned away. It may be nil.
	Admit func(*Peer, *wire.Connect) *wire.Disconnect
}

// Account is what one peer, or one address, may use. It is safe for concurrent
// use.
type Account interface {
	// AllowFrames takes a number of frames of the budget, or reports false and
	// takes none.
	AllowFrames(n int) bool
	// Memory is what the buffers of the peer's streams are reserved from.
	wire.Memory
}

func (s *Session) memory() wire.Memory {
	if s.Account == nil {
		return nil
	}
	return s.Account
}

func (s *Session) origin() Origin {
	o := Origin{Source: s.Source}
	if s.Peer != "" {
		o.Node = routing.IDFromPeer(s.Peer)
	}
	return o
}
