package uplink

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// insteadOfPong has a gateway answer CONNECT with any bytes, until the returned
// function is called. CONNECT is known to it all the same.
func insteadOfPong(g *glass.Gateway, answer []byte) (usual func()) {
	g.ReplyWith(func(asked framing.Frame) []byte {
		if asked.Type != wire.TypeConnect {
			return nil
		}
		return answer
	})
	return func() { g.ReplyWith(nil) }
}

// Whatever a gateway answers to CONNECT, it is left in order, and tried again.
func TestUplinkOddAnswersToConnect(t *testing.T) {
	pong := &wire.Pong{NodeID: []byte("a gateway")}
	tests := map[string]struct {
		answer []byte
		joins  bool
	}{
		"DISCONNECT":            {compattest.Frames(t, &wire.Disconnect{Reason: "realm_mismatch"}), false},
		"PONG without a name":   {compattest.Frames(t, &wire.Pong{}), false},
		"another version":       {[]byte{2, 4, 0, 0, 0, 0, 0, 1, 0x80}, false},
		"no MessagePack":        {compattest.RawFrame(wire.TypePong, 0xc1), false},
		"a list":                {compattest.RawFrame(wire.TypePong, 0x90), false},
		"too large":             {[]byte{framing.Version, byte(wire.TypePong), 0, 0, 0xff, 0xff, 0xff, 0xff}, false},
		"two PONGs":             {compattest.Frames(t, pong, pong), true},
		"PUBLISH before PONG":   {compattest.Frames(t, &wire.Publish{Topic: "t"}, pong), true},
		"a question with it":    {compattest.Frames(t, pong, &wire.FindValue{Key: []byte("k")}), true},
		"a reply to no request": {compattest.Frames(t, &wire.FindValueReply{}, pong), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGlass(t)
			usual := insteadOfPong(g, test.answer)
			u := newUplinked(t, []*glass.Gateway{g})
			if test.joins {
				compattest.Eventually(t, u.has(1), "a session")
				pings := frameCount(g, wire.TypePing)
				before := pings()
				compattest.Eventually(t, func() bool { return pings() >= before+2 }, "which goes on")
				require.Equal(t, 1, frameCount(g, wire.TypeConnect)())
			} else {
				connects := frameCount(g, wire.TypeConnect)
				compattest.Eventually(t, func() bool { return connects() >= 2 }, "it is tried again")
				require.Empty(t, u.Sessions())
				usual()
				compattest.Eventually(t, u.has(1), "a session")
			}
			require.LessOrEqual(t, g.Stats().Open, 2, "one connection, and one that is going")
			requireUnhurt(t, g)
		})
	}
}

// A gateway that turns this node away later on is joined anew.
func TestUplinkTurnedAway(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g})
	compattest.Eventually(t, u.has(1), "a session")
	connects := frameCount(g, wire.TypeConnect)
	n, err := g.Push(&wire.Disconnect{Reason: "shutting_down"})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	compattest.Eventually(t, func() bool { return connects() == 2 }, "it is joined again")
	compattest.Eventually(t, u.has(1), "a session")
	requireUnhurt(t, g)
}

// A session does not stay on a connection that is used no more: the gateway would
// have two of ours.
func TestUplinkFollowsTheConnection(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g})
	compattest.Eventually(t, u.has(1), "a session")
	g.ReplyWith(func(asked framing.Frame) []byte {
		if asked.Type != wire.TypeNATProbe {
			return nil
		}
		return []byte{2} // framing is lost
	})
	_, err := u.dialer.Query(compattest.Context(t), u.Sessions()[0], &wire.NATProbe{NodeID: []byte("me"), RequestID: []byte("r")})
	require.ErrorIs(t, err, proto.ErrUnreachable)
	compattest.Eventually(t, func() bool { return frameCount(g, wire.TypeConnect)() == 2 }, "it is joined again")
	compattest.Eventually(t, func() bool { return g.Stats().Open == 1 }, "over the only connection")
	compattest.Eventually(t, u.has(1), "a session")
	requireUnhurt(t, g)
}

// What is answered to a gateway's own questions is not more than it can take.
func TestUplinkAnswersAreSmall(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g})
	compattest.Eventually(t, u.has(1), "a session")
	long := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawText(compattest.NodeID("n"))}, wire.Pair{Key: "d", Value: wire.RawBytes(make([]byte, 2*safety.MaxFrame))})
	require.NoError(t, u.r.Records().Store(t.Context(), records.Put{Key: []byte("k"), Value: long}))
	for _, m := range []wire.Message{&wire.FindValue{Key: []byte("k")}, &wire.Ping{}} {
		n, err := g.Push(m)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	compattest.Eventually(t, func() bool { return frameCount(g, wire.TypePong)() == 1 }, "the PING is answered")
	require.Zero(t, frameCount(g, wire.TypeFindValueReply)())
	require.LessOrEqual(t, g.Stats().Longest, safety.MaxFrame)
	requireUnhurt(t, g)
}
