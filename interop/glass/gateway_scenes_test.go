package glass_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// TestGatewayScenes has the recorded clients talk to a double in the place of
// their gateway, frame by frame: what that sends, to whom, and in which order,
// is what the real gateway sent.
func TestGatewayScenes(t *testing.T) {
	t.Parallel()
	all := scenes(t, "live-one-gateway.json")
	g := start(t, glass.NodeID(unhex(t, idA)), glass.Listen("127.0.0.1:0"), glass.PeerTimeout(time.Millisecond))
	p := &players{t: t, g: g, talks: map[string]*talk{}}
	for _, name := range []string{"n01-connect", "n02-pubsub", "n03-pubsub-public", "n04-pubsub-wildcards", "n05-pubsub-qos1",
		"n06-pubsub-own", "n07-pubsub-unsubscribe", "n08-rpc-request", "n09-rpc-request-nobody", "n10-rpc-request-noproc",
		"n11-rpc-call", "n12-rpc-call-answered", "n13-rpc-call-miss"} {
		if name == "n08-rpc-request" { // by connections of before the traces
			p.connected("118338", hexC)
			p.connected("118376", hexB)
			p.connected("118372", hexC)
		}
		if name == "n11-rpc-call" {
			require.Len(t, g.Lost(), 1, "of n09: a map that is no frame")
			require.Contains(t, g.Lost()[0], "unsupported frame version")
		}
		require.True(t, t.Run(name, func(t *testing.T) { p.play(t, all[name]) }), "those that follow build on it")
	}
	require.Empty(t, g.Broken())
	for stream, k := range p.talks { // and nothing but that
		k.SetReadDeadline(time.Now().Add(time.Millisecond))
		f, err := k.next()
		require.Error(t, err, "stream %s: %s", stream, f.Type)
	}
}

// players are the recorded clients: a stream of its own connection for each that
// the gateway had.
type players struct {
	t     *testing.T
	g     *glass.Gateway
	talks map[string]*talk
}

func (p *players) talk(stream string) *talk {
	if p.talks[stream] == nil {
		p.talks[stream] = dial(p.t, p.g).open()
	}
	return p.talks[stream]
}

func (p *players) connected(stream, id string) {
	m := connecting(id)
	require.NotNil(p.t, p.talk(stream).ask(m))
}

// play says what the gateway received and requires what it sent.
func (p *players) play(t *testing.T, s scene) {
	require.NotEmpty(t, s.What)
	asked := map[string]bool{}
	for _, e := range s.Events {
		if e.Node != "a" {
			continue
		}
		k := p.talk(e.Stream)
		if e.Dir == "recv" {
			asked[e.Stream] = true
			seen := p.g.Stats()
			k.send(unhex(t, e.Hex))
			eventually(t, func() bool { now := p.g.Stats(); return now.Total()+now.Lost > seen.Total()+seen.Lost }, "it came")
			if e.Type != "FIND_VALUE" && e.Type != "CONNECT" {
				continue
			}
			require.NoError(t, k.SetReadDeadline(time.Now().Add(patience)))
			eventually(t, func() bool { return p.g.Stats().Asking[wire.TypeFindValue] == 0 }, "answered")
			continue
		}
		if e.Type == "REPLY" || e.Type == "FIND_VALUE_REPLY" && !asked[e.Stream] {
			continue // one by hand, the other to what came before the trace
		}
		require.NoError(t, k.SetReadDeadline(time.Now().Add(patience)))
		got, err := k.next()
		require.NoError(t, err, "%d ms %s", e.MS, e.Type)
		want, _, err := framing.DecodeFrame(unhex(t, e.Hex))
		require.NoError(t, err)
		blanks := []string{"timestamp", "server_time"}
		if want.Type == wire.TypePong {
			got, want = pongOf(t, got), pongOf(t, want)
		}
		if want.Type == wire.TypePublish {
			id, _ := wire.Raw(want.Payload).Field("message_id")
			if b, _ := id.Bytes(); b[0] != 0 {
				blanks = append(blanks, "message_id") // its own, at random
			}
		}
		requireSame(t, want, got, blanks...)
	}
}

// pongOf takes the endpoint out, whose port differs.
func pongOf(tb testing.TB, f framing.Frame) framing.Frame {
	m, err := f.Decode()
	require.NoError(tb, err)
	m.(*wire.Pong).Endpoint = ""
	g, _, err := framing.DecodeFrame(encode(tb, m))
	require.NoError(tb, err)
	return g
}
