package maculadht

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
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
		{"store", &wire.Store{Key: []byte("k"), Value: valueOf("p")}, nil},
		{"publish", &wire.Publish{Topic: "t"}, nil},
		{"an unknown type", fieldsOf(0xee), nil},
	}
	server := newHost(t)
	s := newService(t, server, WithPeerBudget(rate.Every(time.Hour), 1))
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := openRaw(t, newHost(t), server)
			require.IsType(t, &wire.Pong{}, stream.ask(&wire.Ping{}), "each peer has a budget of its own")
			if test.want == nil {
				stream.send(test.ask)
				stream.requireReset(ResetRefused)
			} else {
				got := stream.ask(test.ask)
				if r, ok := got.(*wire.Reply); ok {
					require.NotEmpty(t, r.Error.Message)
					r.Error.Message = ""
				}
				require.Equal(t, test.want, got)
			}
			require.Equal(t, uint64(i+1), s.Stats().Busy)
		})
	}
	_, err := s.LookupValue([]byte("k"))
	require.ErrorIs(t, err, ErrNotFound)
}

// The streams of a peer share its budget, which is forgotten with the peer.
func TestPeerBudgetIsThePeers(t *testing.T) {
	server, asker := newHost(t), newHost(t)
	s := newService(t, server, WithPeerBudget(rate.Every(time.Hour), 1))
	require.IsType(t, &wire.Pong{}, openRaw(t, asker, server).ask(&wire.Ping{}))
	second := openRaw(t, asker, server)
	second.send(&wire.Ping{})
	second.requireReset(ResetRefused)

	require.NoError(t, asker.Network().ClosePeer(server.ID()))
	kept := func() (sessions, sources int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.budgets.mu.Lock()
		defer s.budgets.mu.Unlock()
		return len(s.sessions), len(s.budgets.bySource)
	}
	require.Eventually(t, func() bool {
		sessions, sources := kept()
		return sessions == 0 && sources == 0
	}, patience, time.Millisecond)
	require.IsType(t, &wire.Pong{}, openRaw(t, asker, server).ask(&wire.Ping{}))
}

func TestBudgetsAreSharedAndForgotten(t *testing.T) {
	b := NewBudgets(rate.Every(time.Hour), 1)
	one, releaseOne := b.Acquire("a")
	two, releaseTwo := b.Acquire("a")
	other, releaseOther := b.Acquire("b")
	require.Same(t, one, two)
	require.NotSame(t, one, other)
	releaseOne()
	releaseOne() // counts once
	again, releaseAgain := b.Acquire("a")
	require.Same(t, one, again)
	releaseTwo()
	releaseAgain()
	releaseOther()
	require.Empty(t, b.bySource)

	none, release := NewBudgets(rate.Inf, 1).Acquire("a")
	require.Nil(t, none)
	release()
}

func TestOptionsAreChecked(t *testing.T) {
	h := newHost(t)
	tests := []struct {
		name string
		opt  Option
	}{
		{"no rate", WithPeerBudget(0, 1)},
		{"no logger", WithLogger(nil)},
		{"no burst", WithPeerBudget(1, 0)},
		{"no realm", WithRealm("")},
		{"too long a realm", WithRealm(strings.Repeat("r", 256))},
		{"no streams", WithClient(ClientStreams(0, 1))},
		{"no pipeline", WithClient(ClientStreams(1, 0))},
		{"no time", WithClient(ClientTimeout(0))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(h, test.opt)
			require.ErrorContains(t, err, "maculadht")
		})
	}
}

// A reply that would be too long keeps the providers with the longest life, in
// their order, and tells how long each has left.
func TestFindValueReplyLimit(t *testing.T) {
	server := newHost(t)
	s := newService(t, server)
	stream := openRaw(t, newHost(t), server)
	key := []byte("k")
	lives := []int64{500, 100, 900, 300, 700, 200, 800, 400, 600, 1000}
	filler := wire.Pair{Key: "filler", Value: wire.RawText(strings.Repeat("x", 60_000))}
	for i, life := range lives {
		stream.send(&wire.Store{Key: key, Value: valueOf(fmt.Sprint(i), filler, wire.Pair{Key: "ttl", Value: wire.RawInt(life)})})
	}
	reply := stream.ask(&wire.FindValue{Key: key}).(*wire.FindValueReply)
	require.LessOrEqual(t, len(frames(t, reply)), MaxFindValueReply)
	require.Equal(t, uint64(6), s.Stats().LeftOut)

	kept := []int64{1000, 800, 700, 900} // the newest is in front
	require.Len(t, reply.Values, len(kept))
	require.Len(t, reply.ExpiresIn, len(kept))
	for i, life := range kept {
		ttl, _ := reply.Values[i].Field("ttl")
		require.Equal(t, wire.RawInt(life), ttl)
		require.InDelta(t, life, reply.ExpiresIn[i], 5)
	}
}

// A frame may be as long as the limit, and no longer; what it costs is
// accounted for and given back.
func TestServeLongestPayload(t *testing.T) {
	server, asker := newHost(t), newHost(t)
	newService(t, server)
	stream := openRaw(t, asker, server)
	payload := []byte{0x81, 0xc4, 1, 'x', 0xc6, 0, 0, 0, 0}
	n := wire.MaxPayload - len(payload)
	payload[6], payload[7], payload[8] = byte(n>>16), byte(n>>8), byte(n)
	payload = append(payload, make([]byte, n)...)
	require.Len(t, payload, wire.MaxPayload)

	stream.write(frame(wire.TypePing, payload...))
	require.IsType(t, &wire.Pong{}, stream.next())
	require.IsType(t, &wire.Pong{}, stream.ask(&wire.Ping{}))
}

func TestServeShutdown(t *testing.T) {
	server, asker := newHost(t), newHost(t)
	s := newService(t, server)
	stream := openRaw(t, asker, server)
	require.IsType(t, &wire.Pong{}, stream.ask(&wire.Ping{}))
	require.NoError(t, s.Close())
	stream.requireReset(ResetShutdown)
	require.NoError(t, s.Close(), "closing twice does nothing")
	require.Equal(t, uint64(1), s.Stats().Resets[ResetShutdown])
}
