package glass_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// recordedFrames returns what an Erlang node sent on the first connection of a
// recorded session.
func recordedFrames(tb testing.TB, name string) (frames []framing.Frame) {
	tb.Helper()
	text, err := os.ReadFile("../testdata/erlang-client-sessions.json")
	require.NoError(tb, err)
	var all struct {
		Sessions []struct {
			Session string
			Events  []struct {
				Conn       int
				Event, Hex string
			}
		}
	}
	require.NoError(tb, json.Unmarshal(text, &all))
	for _, s := range all.Sessions {
		for _, e := range s.Events {
			if s.Session != name || e.Conn != 1 || e.Event != "from Erlang" {
				continue
			}
			for b := unhex(tb, e.Hex); len(b) > 0; {
				f, rest, err := framing.DecodeFrame(b)
				require.NoError(tb, err)
				frames, b = append(frames, f), rest
			}
		}
	}
	require.NotEmpty(tb, frames)
	return frames
}

// shape is a message with its values of another time or node taken out.
func shape(tb testing.TB, f framing.Frame) message {
	tb.Helper()
	m := decode(tb, f).(message)
	for _, name := range []string{"node_id", "endpoint", "timestamp", "call_id"} {
		if text, ok := m.fields[name].(bin); ok {
			m.fields[name] = len(text)
		} else if _, ok := m.fields[name].(int64); ok {
			m.fields[name] = "an integer"
		}
	}
	return m
}

// A node that bootstraps does what the recorded one did: CONNECT, then on the
// same stream CALL and PING, in the same words.
func TestBootstrapAsRecorded(t *testing.T) {
	frames := recordedFrames(t, "srv_boot")
	require.Equal(t, wire.TypeConnect, frames[0].Type)
	r := record(t, func(f framing.Frame) []byte {
		switch f.Type {
		case wire.TypeConnect:
			return encode(t, &wire.Pong{NodeID: id16, Endpoint: "https://127.0.0.1:9443"})
		case wire.TypeCall:
			return encode(t, &wire.Reply{CallID: id16, Result: procedures.GatewayList{}.Raw()})
		case wire.TypePing:
			return encode(t, &wire.Pong{})
		}
		return nil
	})
	g := start(t, glass.RegisterAfter(soon), glass.ClientTimes(4*soon, 3*soon))
	s, err := g.Bootstrap(within(t), r.endpoint)
	require.NoError(t, err)
	require.Equal(t, id16, s.Welcome().NodeID)
	eventually(t, func() bool { return s.Received(wire.TypePong) >= 2 && s.Received(wire.TypeReply) >= 2 }, "it goes on and on")
	require.Len(t, r.conns(), 1)
	seen := map[wire.Type]framing.Frame{}
	for _, f := range r.frames(0) {
		seen[f.Type] = f
	}
	require.Equal(t, wire.TypeConnect, r.frames(0)[0].Type)
	for _, f := range frames {
		want := shape(t, f)
		if f.Type == wire.TypeConnect {
			want.fields["endpoint"] = len(g.Endpoint())
		}
		require.Equal(t, want, shape(t, seen[f.Type]), "%s", f.Type)
	}

	// All that it says goes in one Write on that stream.
	require.NoError(t, s.Say(&wire.Subscribe{Topics: []string{"t"}}, &wire.Store{Key: []byte("k"), Value: provider("n")}, &wire.Ping{}))
	eventually(t, func() bool {
		return count(r.frames(0), wire.TypeStore) == 1 && count(r.frames(0), wire.TypeSubscribe) == 1
	}, "it came")
	require.NoError(t, s.Close())
	<-s.Done()
	require.Zero(t, r.end(t, 0))
	require.Empty(t, g.Broken())
}

func count(frames []framing.Frame, t wire.Type) (n int) {
	for _, f := range frames {
		if f.Type == t {
			n++
		}
	}
	return n
}

// Of two doubles one bootstraps from the other, which may push to it.
func TestBootstrapFromAnother(t *testing.T) {
	server := start(t)
	node := start(t, glass.ClientTimes(soon, soon), glass.RegisterAfter(0))
	s, err := node.Bootstrap(within(t), server.Endpoint())
	require.NoError(t, err)
	require.Equal(t, server.NodeID(), s.Welcome().NodeID)
	eventually(t, func() bool { return s.Received(wire.TypePong) > 1 }, "its PINGs are answered")
	sent, err := server.Push(&wire.Publish{Topic: "t", Payload: wire.RawText("p")})
	require.NoError(t, err)
	require.Equal(t, 1, sent)
	eventually(t, func() bool { return len(s.Messages()) == 1 }, "pushed")
	require.Equal(t, "t", s.Messages()[0].(*wire.Publish).Topic)

	nodes := dial(t, server).ask(&wire.FindNode{Target: id16}).(*wire.FindNodeReply).Nodes
	require.Len(t, nodes, 1)
	require.Equal(t, node.ClientID(), string(nodes[0].ID))
	require.Equal(t, node.Endpoint(), nodes[0].Address)
	require.Empty(t, server.Broken())

	// Now it is one that has bootstrapped.
	dial(t, node).open().send(encode(t, &wire.FindNode{Target: id16}))
	first, err := node.WaitBroken(within(t))
	require.NoError(t, err)
	require.Equal(t, glass.CauseBootstrapNode, first.Why)
}

// A node that is turned away does not understand it, and goes on as if nothing
// had come.
func TestDisconnectIsIgnored(t *testing.T) {
	r := record(t, func(framing.Frame) []byte { return encode(t, &wire.Disconnect{Reason: "realm_mismatch"}) })
	g := start(t, glass.ClientTimes(soon, soon))
	s, err := g.Bootstrap(within(t), r.endpoint)
	require.NoError(t, err)
	require.Equal(t, "realm_mismatch", s.Refused().Reason)
	eventually(t, func() bool {
		return count(r.frames(0), wire.TypePing) > 1 && count(r.frames(0), wire.TypeCall) > 1
	}, "it pings and polls")
	require.Len(t, r.conns(), 1)
	require.Empty(t, g.Broken())
}

func TestBootstrapIsNotAnswered(t *testing.T) {
	r := record(t, silent)
	g := start(t, glass.Reconnects(2, soon))
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, err := g.Bootstrap(ctx, r.endpoint)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, r.end(t, 0))
	require.Equal(t, 1, g.Stats().Dialled)
}

// listing answers CONNECT, and CALL with these peers.
func listing(tb testing.TB, peers ...wire.Raw) func(framing.Frame) []byte {
	return func(f framing.Frame) []byte {
		if f.Type == wire.TypeConnect {
			return encode(tb, &wire.Pong{NodeID: id16})
		}
		return encode(tb, &wire.Reply{CallID: id16, Result: mapping("peers", wire.RawArray(peers...))})
	}
}

// What list_gateways tells is dialled, once more at every poll, and not closed.
func TestDialsWhatItIsTold(t *testing.T) {
	told := start(t)
	r := record(t, listing(t, mapping("node_id", "told", "host", "127.0.0.1", "port", told.Addr().Port, "realm", realm)))
	g := start(t, glass.ClientTimes(never, soon))
	_, err := g.Bootstrap(within(t), r.endpoint)
	require.NoError(t, err)
	eventually(t, func() bool { return told.Stats().Accepted >= 3 }, "over and over")
	require.GreaterOrEqual(t, told.Stats().Open, 3)
	require.GreaterOrEqual(t, g.Stats().DialledOpen, 4, "with the one that it bootstrapped through")
	require.Empty(t, g.Broken())
	require.NoError(t, g.Close())
	eventually(t, func() bool { return told.Stats().Open == 0 }, "until it stops")
}

func TestNamelessGateway(t *testing.T) {
	r := record(t, listing(t, mapping("host", "127.0.0.1", "port", 1, "realm", realm)))
	g := start(t, glass.ClientTimes(never, soon))
	_, err := g.Bootstrap(within(t), r.endpoint)
	require.NoError(t, err)
	first, err := g.WaitBroken(within(t))
	require.NoError(t, err)
	require.Equal(t, glass.Break{Kind: glass.Discovery, Why: glass.CauseNamelessGateway}, first)
	require.Equal(t, 1, g.Stats().Dialled)
}

// A lookup is one question on a connection of its own, as recorded, and breaks
// on what the reference broke on.
func TestLookupReplies(t *testing.T) {
	node := mapping("node_id", "n", "address", "", "last_seen", 1)
	hit := encode(t, &wire.FindValueReply{Values: []wire.Raw{provider("a"), provider("b")}})
	for name, test := range map[string]struct {
		reply []byte
		want  []wire.Raw
		is    error
		broke []glass.Break
		cut   int
	}{
		"a hit":               {hit, []wire.Raw{provider("a"), provider("b")}, nil, nil, 0},
		"a miss":              {encode(t, &wire.FindValueReply{}), nil, nil, nil, 0},
		"a miss as of Erlang": {made(wire.TypeFindValueReply, mapping("type", "find_value_reply", "result", "nodes", "nodes", wire.Raw{0xa0})), nil, nil, nil, 0},
		"nodes": {made(wire.TypeFindValueReply, mapping("type", "find_value_reply", "result", "nodes", "nodes", wire.RawArray(node))),
			nil, glass.ErrBadReply, []glass.Break{{Kind: glass.Crash, Why: glass.CauseReplyNodes}}, 0},
		"a value that is no list": {made(wire.TypeFindValueReply, mapping("type", "find_value_reply", "result", "value", "value", provider("a"))),
			nil, glass.ErrBadReply, []glass.Break{{Kind: glass.Crash, Why: glass.CauseReplyValue, Detail: "map"}}, 0},
		"an error":                   {encode(t, &wire.FindValueReply{Reason: "busy"}), nil, glass.ErrBadReply, nil, 0},
		"another type":               {encode(t, &wire.Pong{}), nil, glass.ErrBadReply, nil, 0},
		"the first bytes of a reply": {hit[:20], nil, glass.ErrBadReply, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := record(t, func(framing.Frame) []byte { return test.reply })
			g := start(t)
			g.Store([]byte("kept"), provider("own"))
			values, err := g.FindValue(within(t), r.endpoint, id16)
			require.ErrorIs(t, err, test.is)
			require.Equal(t, test.want, values)
			require.Equal(t, test.broke, g.Broken())
			require.Equal(t, test.broke == nil, len(g.Stored([]byte("kept"))) == 1)
			require.Equal(t, test.cut, g.Stats().CutReplies)
			require.Zero(t, r.end(t, 0))
			require.Len(t, r.frames(0), 1)
			asked := r.frames(0)[0]
			recorded := recordedFrames(t, "srv_rs")[0]
			require.Equal(t, recorded.Type, asked.Type)
			require.Equal(t, mapping("key", id16), wire.Raw(asked.Payload))
			require.Len(t, plain(recorded.Payload), 1)
		})
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	parent := start(t)
	parent.Store([]byte("there"), provider("p"))
	silent := record(t, silent)
	g := start(t, glass.PeerTimeout(10*soon), glass.BootstrappedFrom(silent.endpoint, id16), glass.BootstrappedFrom(parent.Endpoint(), parent.NodeID()))
	values, err := g.Lookup(within(t), []byte("there"))
	require.NoError(t, err)
	require.Equal(t, []wire.Raw{provider("p")}, values)
	require.Len(t, silent.conns(), 1, "the first was asked first")
	_, err = g.Lookup(within(t), []byte("nowhere"))
	require.ErrorIs(t, err, glass.ErrNotFound)
	g.Store([]byte("own"), provider("g"))
	values, err = g.Lookup(within(t), []byte("own"))
	require.NoError(t, err)
	require.Len(t, values, 1)
	require.Len(t, silent.conns(), 2, "nobody was asked")

	// One that is asked asks its own peers.
	reply := dial(t, g).ask(&wire.FindValue{Key: []byte("there")}).(*wire.FindValueReply)
	require.Equal(t, []wire.Raw{provider("p")}, reply.Values)
}

// A peer's reply that crashes it on a miss leaves who asked without an answer.
func TestCrashedOnAMiss(t *testing.T) {
	nodes := wire.RawArray(mapping("node_id", "n"))
	r := record(t, func(framing.Frame) []byte { return made(wire.TypeFindValueReply, mapping("nodes", nodes)) })
	g := start(t, glass.BootstrappedFrom(r.endpoint, id16))
	c := dial(t, g)
	k := c.open()
	k.send(encode(t, &wire.FindValue{Key: []byte("miss")}))
	first, err := g.WaitBroken(within(t))
	require.NoError(t, err)
	require.Equal(t, glass.Break{Kind: glass.Crash, Why: glass.CauseReplyNodes}, first)
	c.ask(&wire.Ping{}) // comes behind it
	require.Equal(t, 1, g.Stats().Replies)
	_, err = g.Lookup(within(t), []byte("miss"))
	require.ErrorIs(t, err, glass.ErrBadReply)
	require.Len(t, g.Broken(), 2)
}

// Values are passed on over one connection an endpoint, one stream, never ended.
func TestPropagation(t *testing.T) {
	r := record(t, silent)
	g := start(t, glass.BootstrappedFrom(r.endpoint, id16))
	for range 20 {
		require.NoError(t, g.Propagate(within(t), []byte("k"), provider("n")))
	}
	eventually(t, func() bool { return len(r.conns()) == 1 && len(r.frames(0)) == 20 }, "all came, on one stream")
	require.Equal(t, wire.TypeStore, r.frames(0)[0].Type)
	require.Equal(t, 1, g.Stats().Dialled)
	require.Equal(t, 1, g.Stats().DialledOpen)

	other := start(t)
	for n := 1; n <= 2; n++ { // again, when the connection is lost
		require.NoError(t, g.StoreAt(within(t), other.Endpoint(), []byte("k"), provider("n")))
		eventually(t, func() bool { return other.Stats().Frames[wire.TypeStore] == n }, "it came")
		other.DropClients()
		eventually(t, func() bool { return g.Stats().DialledOpen == 1 }, "lost")
	}
	require.Empty(t, other.Broken())

	require.NoError(t, g.Close())
	require.Zero(t, r.end(t, 0))
	require.ErrorIs(t, g.StoreAt(within(t), r.endpoint, []byte("k"), provider("n")), quic.ErrTransportClosed)
}

func TestEndpointsThatAreNone(t *testing.T) {
	g := start(t)
	_, err := g.FindValue(within(t), "127.0.0.1:1", id16)
	require.ErrorContains(t, err, "write https://host:port")
	_, err = glass.Start(glass.Listen("nonsense"))
	require.ErrorContains(t, err, "nonsense")
	_, err = glass.Start(glass.Listen(g.Addr().String()))
	require.Error(t, err, "the port is taken")
	_, err = glass.Start(glass.ClientTimes(0, time.Second))
	require.Error(t, err)
	require.NoError(t, g.Close())
	udp, err := net.ListenUDP("udp", g.Addr())
	require.NoError(t, err, "the port is free")
	require.NoError(t, udp.Close())
	require.NoError(t, g.Close())
}
