package resolver

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// door is a node's gateway: handlers with a resolver.
type door struct {
	t        testing.TB
	resolver *Resolver
	handlers *dht.Handlers
	streams  sync.WaitGroup
	clients  []*client
}

// newDoor opens the door of a node that asks through network.
func newDoor(t testing.TB, s *routing.Server, network routing.Network, opts ...Option) *door {
	t.Helper()
	l, err := lookup.New(s, network, lookup.WithDraw(routingtest.NearestFirst))
	require.NoError(t, err)
	r, err := New(l, opts...)
	require.NoError(t, err)
	limits := server.DefaultLimits()
	limits.Slots = 20_000
	limits.Queue = 64 << 20
	mux, err := server.NewMux(server.WithLimits(limits))
	require.NoError(t, err)
	h, err := dht.New(mux, s, dht.WithResolver(r))
	require.NoError(t, err)
	return &door{t: t, resolver: r, handlers: h}
}

// close ends it and its clients, and requires that nothing is left under way.
func (d *door) close() {
	d.t.Helper()
	for _, c := range d.clients {
		c.Close()
	}
	d.resolver.Close()
	d.streams.Wait()
	require.Equal(d.t, Stats{}, func() Stats {
		s := d.resolver.Stats()
		return Stats{Keys: s.Keys, Bytes: s.Bytes, UnderWay: s.UnderWay, Waiting: s.Waiting}
	}())
}

// client is a stream of an Erlang node.
type client struct {
	net.Conn

	t  testing.TB
	in *framing.Reader
}

// memStream is the server's end of it.
type memStream struct{ net.Conn }

func (s memStream) Reset(proto.ResetCode) { s.Close() }

// open opens a stream in the dialect.
func (d *door) open(dialect server.Dialect) *client {
	ours, theirs := net.Pipe()
	account := d.handlers.Mux().Budget().Open(budget.Source{Name: "192.0.2.1"})
	d.streams.Go(func() {
		defer account.Close()
		_ = d.handlers.Mux().Serve(context.Background(), memStream{ours}, &server.Session{Dialect: dialect, Account: account})
	})
	c := &client{Conn: theirs, t: d.t, in: framing.NewReader(theirs)}
	d.clients = append(d.clients, c)
	return c
}

// erlang opens a stream as an Erlang client does, and CONNECTs on it.
func (d *door) erlang() *client {
	c := d.gateway()
	c.send(&wire.Connect{NodeID: fmt.Appendf(nil, "%032d", len(d.clients)), RealmID: proto.DefaultRealm})
	f, err := c.in.Next()
	require.NoError(d.t, err)
	require.Equal(d.t, wire.TypePong, f.Type)
	return c
}

// gateway opens a stream as an Erlang gateway does for the question of its lookup.
func (d *door) gateway() *client { return d.open(server.Erlang()) }

// send writes messages.
func (c *client) send(messages ...wire.Message) {
	c.t.Helper()
	var b []byte
	for _, m := range messages {
		var err error
		b, err = framing.AppendFrame(b, m)
		require.NoError(c.t, err)
	}
	_, err := c.Write(b)
	require.NoError(c.t, err)
}

// next reads the reply to a FIND_VALUE.
func (c *client) next() *wire.FindValueReply {
	c.t.Helper()
	f, err := c.in.Next()
	require.NoError(c.t, err)
	f.Payload = append([]byte(nil), f.Payload...)
	m, err := f.Decode()
	require.NoError(c.t, err)
	return m.(*wire.FindValueReply)
}

// find asks for a key, and returns the values and how long it took.
func (c *client) find(key []byte) ([]wire.Raw, time.Duration) {
	c.t.Helper()
	start := time.Now()
	c.send(&wire.FindValue{Key: key})
	reply := c.next()
	require.Empty(c.t, reply.Nodes, "an Erlang node can not read them")
	require.Empty(c.t, reply.ExpiresIn, "nor this")
	return reply.Values, time.Since(start)
}
