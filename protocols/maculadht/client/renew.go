package client

import (
	"context"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multistream"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Renew tells the client that a peer has CONNECTed over a connection. It may have
// been restarted, so that nobody is at the other end of older ones, which the host
// sees only after a while: streams over those are given up, what was asked on them is
// asked once more, and new streams are opened over this connection until [Client.Ended]
// is told of it.
// Over one that is older than another one it changes nothing: both live.
func (c *Client) Renew(conn network.Conn) {
	if conn.Stat().Limited || !c.isNewest(conn) {
		return
	}
	p := conn.RemotePeer()
	c.mu.RLock()
	lanes := []*lane{c.lanes[laneKey{p, false}], c.lanes[laneKey{p, true}]}
	c.mu.RUnlock()
	for _, l := range lanes {
		if l != nil {
			l.giveUp(conn)
		}
	}
}

// isNewest notes the connection over which its peer has CONNECTed, and reports
// whether that is a newer one.
func (c *Client) isNewest(conn network.Conn) bool {
	p := conn.RemotePeer()
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.newest[p]
	if c.closed || known == conn || conn.IsClosed() || known != nil && !known.IsClosed() && conn.Stat().Opened.Before(known.Stat().Opened) {
		return false
	}
	c.newest[p] = conn
	return true
}

// Ended tells the client that a connection has ended of which Renew was told.
func (c *Client) Ended(conn network.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := conn.RemotePeer(); c.newest[p] == conn {
		delete(c.newest, p)
	}
}

// newestStream opens a stream over the connection by which a peer has CONNECTed last;
// it returns none where there is no such connection any more, or an older one is not
// in doubt.
func (c *Client) newestStream(ctx context.Context, p peer.ID) (network.Stream, error) {
	c.mu.RLock()
	conn := c.newest[p]
	c.mu.RUnlock()
	if conn == nil || conn.IsClosed() || len(c.host.Network().ConnsToPeer(p)) < 2 {
		return nil, nil
	}
	s, err := conn.NewStream(ctx)
	if err != nil {
		return nil, nil // the host will find a way
	}
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	if err := multistream.SelectProtoOrFail(proto.ProtocolID, s); err != nil {
		s.Reset()
		return nil, err
	}
	if err := s.SetProtocol(proto.ProtocolID); err != nil {
		s.Reset()
		return nil, err
	}
	return s, nil
}

// giveUp ends the streams over other connections than one.
func (l *lane) giveUp(but network.Conn) {
	for _, p := range *l.pipes.Load() {
		if p.stream.Conn().ID() != but.ID() {
			p.end(errRenewed, proto.ResetGone)
		}
	}
}
