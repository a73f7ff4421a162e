package maculadht

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Over its budget a peer is told so where there is a way, and reset where there
// is none.
func TestPeerBudget(t *testing.T) {
	busy := &wire.CallError{Code: wire.CodeBusy}
	tests := []struct {
		name string
		ask  wire.Message
		want wire.Message // nil for a reset
	}{
		{"find_value", &wire.FindValue{Key: []byte("k")}, &wire.FindValueReply{Reason: wire.ReasonBusy}},
		{"find_node", &wire.FindNode{Target: []byte("k")}, &wire.FindNodeReply{Reason: wire.ReasonBusy}},
		{"call", &wire.Call{Procedure: "p", CallID: []byte("c")}, &wire.Reply{CallID: []byte("c"), Error: busy}},
		{"ping", &wire.Ping{}, nil},
		{"connect", &wire.Connect{NodeID: []byte("x")}, nil},
		{"nat_probe", &wire.NATProbe{}, nil},
		{"rpc_request", &wire.RPCRequest{Procedure: "p"}, nil},
		{"store", &wire.Store{Key: []byte("k"), Value: dhttest.Value("p")}, nil},
		{"publish", &wire.Publish{Topic: "t"}, nil},
		{"an unknown type", dhttest.Fields(0xee), nil},
	}
	srv := dhttest.Host(t)
	s := newService(t, srv, frames(rate.Every(time.Hour), 1))
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := dhttest.Open(t, dhttest.Host(t), srv)
			require.IsType(t, &wire.Pong{}, stream.Ask(&wire.Ping{}), "each peer has a budget of its own")
			if test.want == nil {
				stream.Send(test.ask)
				stream.RequireReset(proto.ResetRefused)
			} else {
				got := stream.Ask(test.ask)
				if r, ok := got.(*wire.Reply); ok {
					require.NotEmpty(t, r.Error.Message)
					r.Error.Message = ""
				}
				require.Equal(t, test.want, got)
			}
			require.Equal(t, uint64(i+1), s.Handlers().Mux().Stats().Busy)
		})
	}
	_, err := s.Handlers().LookupValue(t.Context(), []byte("k"))
	require.ErrorIs(t, err, ErrNotFound)
}

// The streams of a peer share its budget, and a new connection does not fill it.
func TestPeerBudgetIsThePeers(t *testing.T) {
	srv, asker := dhttest.Host(t), dhttest.Host(t)
	s := newService(t, srv, frames(rate.Every(time.Hour), 1))
	require.IsType(t, &wire.Pong{}, dhttest.Open(t, asker, srv).Ask(&wire.Ping{}))
	second := dhttest.Open(t, asker, srv)
	second.Send(&wire.Ping{})
	second.RequireReset(proto.ResetRefused)

	require.NoError(t, asker.Network().ClosePeer(srv.ID()))
	require.Eventually(t, func() bool { return s.admission.Sessions() == 0 }, dhttest.Patience, time.Millisecond)
	again := dhttest.Open(t, asker, srv)
	again.Send(&wire.Ping{})
	again.RequireReset(proto.ResetRefused)
}

func TestOptionsAreChecked(t *testing.T) {
	h := dhttest.Host(t)
	tests := []struct {
		name string
		opt  Option
	}{
		{"no rate", frames(0, 1)},
		{"nil", nil},
		{"no logger", WithLogger(nil)},
		{"no tracer of the service", WithMetricsTracer(nil)},
		{"no endpoints", WithEndpoints(nil)},
		{"no routing server", WithRoutingServer(nil)},
		{"a mode that is none", WithMode(2)},
		{"no endpoint", WithHandlers(dht.WithEndpoint(nil))},
		{"no addrs", WithHandlers(dht.WithAddrs(nil))},
		{"no network", WithHandlers(dht.WithNetwork(nil))},
		{"no bootstrap", WithHandlers(dht.WithBootstrap(nil))},
		{"no tracer", WithServer(server.WithMetricsTracer(nil))},
		{"nil of the handlers", WithHandlers(nil)},
		{"too short a queue", WithLimits(Limits{Accounts: DefaultLimits().Accounts, Queue: 1000, Slots: 1, SlotTime: time.Second})},
		{"no burst", frames(1, 0)},
		{"no realm", WithRealm("")},
		{"too long a realm", WithRealm(strings.Repeat("r", 256))},
		{"no streams", WithClient(client.WithLimits(client.Limits{Pipeline: 1, Timeout: 1}))},
		{"no pipeline", WithClient(client.WithLimits(client.Limits{Streams: 1, Timeout: 1}))},
		{"no time", WithClient(client.WithLimits(client.Limits{Streams: 1, Pipeline: 1}))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(h, test.opt)
			require.ErrorContains(t, err, "maculadht")
		})
	}
}

// A reply that would be too long begins with the newest providers, has others in the rest
// of its room, and tells how long each has left.
func TestFindValueReplyLimit(t *testing.T) {
	srv := dhttest.Host(t)
	s := newService(t, srv)
	stream := dhttest.Open(t, dhttest.Host(t), srv)
	key := []byte("k")
	lives := []int64{500, 100, 900, 300, 700, 200, 800, 400, 600, 1000}
	filler := wire.Pair{Key: "filler", Value: wire.RawText(strings.Repeat("x", 60_000))}
	for i, life := range lives {
		stream.Send(&wire.Store{Key: key, Value: dhttest.Value(fmt.Sprint(i), filler, wire.Pair{Key: "ttl", Value: wire.RawInt(life)})})
	}
	reply := stream.Ask(&wire.FindValue{Key: key}).(*wire.FindValueReply)
	require.LessOrEqual(t, len(dhttest.Frames(t, reply)), proto.MaxFindValueReply)
	require.Equal(t, uint64(6), s.Handlers().Stats().LeftOut)

	require.Len(t, reply.Values, 4)
	require.Len(t, reply.ExpiresIn, 4)
	told := map[int64]bool{}
	for i, value := range reply.Values {
		raw, _ := value.Field("ttl")
		ttl, ok := raw.Int()
		require.True(t, ok)
		require.False(t, told[ttl], "twice")
		told[ttl] = true
		require.InDelta(t, ttl, reply.ExpiresIn[i], 5)
	}
	require.True(t, told[1000] && told[600], "the newest of them: %v", told)
}

// A frame may be as long as the limit, and no longer; what it costs is
// accounted for and given back.
func TestServeLongestPayload(t *testing.T) {
	srv, asker := dhttest.Host(t), dhttest.Host(t)
	newService(t, srv)
	stream := dhttest.Open(t, asker, srv)
	payload := []byte{0x81, 0xc4, 1, 'x', 0xc6, 0, 0, 0, 0}
	n := wire.MaxPayload - len(payload)
	payload[6], payload[7], payload[8] = byte(n>>16), byte(n>>8), byte(n)
	payload = append(payload, make([]byte, n)...)
	require.Len(t, payload, wire.MaxPayload)

	stream.WriteAll(dhttest.Frame(wire.TypePing, payload...))
	require.IsType(t, &wire.Pong{}, stream.Next())
	require.IsType(t, &wire.Pong{}, stream.Ask(&wire.Ping{}))
}

func TestServeShutdown(t *testing.T) {
	srv, asker := dhttest.Host(t), dhttest.Host(t)
	s := newService(t, srv)
	stream := dhttest.Open(t, asker, srv)
	require.IsType(t, &wire.Pong{}, stream.Ask(&wire.Ping{}))
	require.NoError(t, s.Close())
	stream.RequireReset(proto.ResetShutdown)
	require.NoError(t, s.Close(), "closing twice does nothing")
	require.Equal(t, uint64(1), s.Handlers().Mux().Stats().Resets[proto.ResetShutdown])
}

// A stream that goes with its connection, closed in order or not, is gone: no fault of
// what was written on it, and no shutdown of ours.
func TestStreamsThatEndWithTheirConnection(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	resets := func() [proto.MaxResetCode + 1]uint64 { return s.Handlers().Mux().Stats().Resets }
	before := resets()
	for range 2 {
		h := dhttest.Host(t)
		dhttest.Connect(t, h, s.host)
		stream, err := h.NewStream(dhttest.Context(t), s.host.ID(), proto.ProtocolID)
		require.NoError(t, err)
		frames := s.Handlers().Mux().Stats().Frames
		_, err = stream.Write(dhttest.Frames(t, &wire.Ping{}))
		require.NoError(t, err)
		eventually(t, func() bool { return s.Handlers().Mux().Stats().Frames > frames }, "it is served")
		require.NoError(t, h.Close())
	}
	want := before
	want[proto.ResetGone] += 2
	eventually(t, func() bool { return resets() == want }, "they are counted as gone, and nothing else")
}
