package maculadht

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// onDisconnected notes that a peer may have left, as its last connection has ended.
// If it is still there it says so when the upkeep asks; if not, it costs no lookup
// its time meanwhile.
func (s *Service) onDisconnected(n network.Network, conn network.Conn) {
	s.client.Ended(conn)
	p := conn.RemotePeer()
	if n.Connectedness(p) == network.NotConnected && !spared(conn) {
		s.routing.Table().Doubt(routing.IDFromPeer(p), time.Now())
	}
}

// spared reports whether a connection was ended to have fewer, by this side or by
// the other one's connection manager, which says nothing of whether the peer lives.
// To ask it for a sign of life would make the connection anew.
func spared(conn network.Conn) bool {
	var q *quic.Conn
	if !conn.As(&q) {
		return false
	}
	why, closed := errors.AsType[*quic.ApplicationError](context.Cause(q.Context()))
	return closed && (!why.Remote || network.ConnErrorCode(why.ErrorCode) == network.ConnGarbageCollected)
}
