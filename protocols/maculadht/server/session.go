package server

import (
	"net/netip"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/fair"
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
	// Account is what the peer may ask, and what is buffered for it; nil for no
	// limit.
	Account *budget.Account
	// Admit takes a CONNECT whose realm is ours, before it is answered. It
	// returns nil, or why the peer is turned away. It may be nil.
	Admit func(*Peer, *wire.Connect) *wire.Disconnect
	// Met reports whether the node at the other end has CONNECTed on another stream, or
	// has answered a CONNECT of ours. It is asked where the Mux is strict, and may be
	// nil: then each stream has to CONNECT.
	Met func() bool
	// TurnedAway is told of each CONNECT that was refused where the stream goes on
	// all the same; it may be nil.
	TurnedAway func(*wire.Disconnect)
}

// Source names where the peer comes from, whatever it says of itself: whose account it
// asks on, or else its address.
func (s *Session) Source() string {
	if s.Account == nil {
		return s.Remote.Addr().String()
	}
	return s.Account.Source().Name
}

// Payer is who pays for what the peer wants, with its IP group.
func (s *Session) Payer() fair.Payer {
	if s.Account == nil {
		return fair.Payer{Source: budget.SourceOfPeer(s.Peer, s.Remote.Addr())}
	}
	return fair.Payer{Source: s.Account.Source()}
}

// String names the peer for logs.
func (s *Session) String() string {
	switch {
	case s.Account != nil:
		return s.Account.Source().Name
	case s.Peer != "":
		return s.Peer.String()
	default:
		return s.Remote.String()
	}
}
