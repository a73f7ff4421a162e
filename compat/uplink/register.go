package uplink

import (
	"context"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// register tells a gateway of this node, over the very connection over which the
// gateway was looked at, and serves what comes on the stream of that.
func (u *uplink) register(c *dialer.Conn) (*dialer.Session, error) {
	self := u.handlers.Routing().Self()
	return c.Connect(u.ctx, &wire.Connect{
		Version:      "1.0",
		NodeID:       self[:],
		RealmID:      u.handlers.Realm(),
		Endpoint:     u.handlers.Endpoint(),
		Capabilities: []string{"dht"},
	}, func(ctx context.Context, s maculadht.Stream, replies func(wire.Frame)) error {
		return u.handlers.Serve(ctx, s, u.served(c, replies))
	})
}

// served returns what the loop that answers a gateway is told of it.
func (u *uplink) served(c *dialer.Conn, replies func(wire.Frame)) *maculadht.Session {
	dialect := dialer.Dialect()
	dialect.Idle = 0 // it may have nothing to say for days
	return &maculadht.Session{
		Dialect:   dialect,
		Remote:    c.RemoteAddr(),
		Source:    dialer.Source(c.RemoteAddr().Addr()).String(),
		Budget:    rate.NewLimiter(maculadht.DefaultPeerRate, maculadht.DefaultPeerBurst),
		Untouched: replies,
	}
}
