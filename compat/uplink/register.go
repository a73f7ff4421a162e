package uplink

import (
	"context"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// register tells a gateway of this node, over the very connection over which the
// gateway was looked at, and serves what comes on the stream of that.
func (u *uplink) register(c *dialer.Conn, endpoint string) (*dialer.Session, error) {
	self := u.handlers.Routing().Self()
	return c.Connect(u.ctx, &wire.Connect{
		Version:      wire.ProtocolVersion,
		NodeID:       self[:],
		RealmID:      u.handlers.Realm(),
		Endpoint:     endpoint,
		Capabilities: []string{"dht"},
	}, func(ctx context.Context, s server.Stream, replies func(framing.Frame)) error {
		return u.serveStream(ctx, c, s, replies)
	})
}

// serveStream answers what a gateway asks on the stream of our CONNECT, and shows what
// is no question.
func (u *uplink) serveStream(ctx context.Context, c *dialer.Conn, s server.Stream, replies func(framing.Frame)) error {
	show := func(_ *server.Peer, f framing.Frame) error {
		if err := f.Check(); err != nil {
			return err
		}
		replies(f)
		return nil
	}
	account := u.handlers.Mux().Budget().OpenAddr(c.RemoteAddr().Addr())
	defer account.Close()
	dialect := server.Erlang()
	dialect.Idle = 0                   // it may have nothing to say for days
	met := func() bool { return true } // it is this node that CONNECTs
	mux := u.handlers.Mux().With(wire.TypePong, show).With(wire.TypeDisconnect, show)
	return mux.Serve(ctx, s, &server.Session{Dialect: dialect, Remote: c.RemoteAddr(), Account: account, Met: met})
}
