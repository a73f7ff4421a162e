package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// WithConnect has a peer that answers nobody before a CONNECT ([proto.ErrConnectFirst])
// sent the one that connect returns, and then asked again. Without it such a peer can
// not be asked, unless somebody else sends it a CONNECT.
func WithConnect(connect func(over network.Conn) *wire.Connect) Option {
	return func(c *config) error {
		if connect == nil {
			return errors.New("what makes a CONNECT is nil")
		}
		c.connect = connect
		return nil
	}
}

// connectFirst sends a CONNECT to a peer, one for all that wait for that.
func (c *Client) connectFirst(ctx context.Context, to peer.AddrInfo) error {
	done := c.connecting.DoChan(string(to.ID), func() (any, error) {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, proto.ErrClosed
		}
		c.tasks.Add(1)
		c.mu.Unlock()
		defer c.tasks.Done()
		return nil, c.connectTo(to)
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return gaveUp(ctx)
	}
}

func (c *Client) connectTo(to peer.AddrInfo) (err error) {
	if c.cfg.traced() {
		defer c.trace(wire.TypeConnect, time.Now(), &err)
	}
	conns := c.host.Network().ConnsToPeer(to.ID)
	if len(conns) == 0 {
		return fmt.Errorf("%w: the connection to %s ended", proto.ErrUnreachable, to.ID)
	}
	reply, err := c.queryOnce(c.ctx, to, c.cfg.connect(conns[0]))
	if err != nil {
		return err
	}
	if _, ok := reply.(*wire.Pong); !ok {
		return &proto.RefusedError{Reason: fmt.Sprintf("CONNECT answered by %s", reply.Type())}
	}
	return nil
}
