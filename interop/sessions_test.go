package interop

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// session is what Erlang nodes once did as clients of a recorder.
type session struct {
	Name   string `json:"session"`
	Events []struct {
		Conn  int    `json:"conn"`
		Event string `json:"event"`
		Hex   string `json:"hex"`
	} `json:"events"`
}

// conversation is one connection of a session; there is one stream on each.
type conversation struct {
	sent    []byte    // by the Erlang node
	frames  []message // the same, decoded
	replies []byte    // the types of what the recorder answered
}

func loadSessions(tb testing.TB) []session {
	tb.Helper()
	var recorded struct {
		Sessions []session `json:"sessions"`
	}
	readJSON(tb, "testdata/erlang-client-sessions.json", &recorded)
	return recorded.Sessions
}

func (s session) conversations(tb testing.TB) []*conversation {
	tb.Helper()
	var list []*conversation
	for _, e := range s.Events {
		if e.Event == "connection opened" {
			list = append(list, &conversation{})
			require.Len(tb, list, e.Conn)
		}
		c := list[e.Conn-1]
		switch e.Event {
		case "from Erlang":
			c.sent = append(c.sent, unhex(tb, e.Hex)...)
		case "from recorder":
			for _, m := range decodeFrames(tb, unhex(tb, e.Hex)) {
				c.replies = append(c.replies, m.Type)
			}
		}
	}
	for _, c := range list {
		c.frames = decodeFrames(tb, c.sent)
	}
	return list
}

// The seeds that do not cut at random.
const (
	inOnePiece = 0
	byteByByte = 1
)

// cuts returns b in pieces of arbitrary size.
func cuts(b []byte, seed uint64) (pieces [][]byte) {
	random := rand.New(rand.NewPCG(seed, 20))
	for len(b) > 0 {
		n := 1 + random.IntN(min(len(b), 1+random.IntN(200)))
		switch seed {
		case inOnePiece:
			n = len(b)
		case byteByByte:
			n = 1
		}
		pieces, b = append(pieces, b[:n]), b[n:]
	}
	return pieces
}

// TestSessions replays what Erlang nodes did as clients, however their bytes
// are cut: the replies come in order, and what they STOREd is found. It does so
// to the program, and to a node in this process, which the race detector sees.
func TestSessions(t *testing.T) {
	seeds := []uint64{inOnePiece, byteByByte}
	for range 4 {
		seeds = append(seeds, rand.Uint64())
	}
	t.Logf("seeds %d", seeds)
	nodes := map[string]func(t *testing.T) *net.UDPAddr{
		"the program":     func(t *testing.T) *net.UDPAddr { return startProcess(t).udp(t) },
		"in this process": func(t *testing.T) *net.UDPAddr { return udpOf(t, startNode(t).Endpoints()[0]) },
	}
	for _, seed := range seeds {
		for name, start := range nodes {
			t.Run(fmt.Sprintf("seed %d, %s", seed, name), func(t *testing.T) {
				t.Parallel() // mostly waiting: an Erlang node names endpoints that nobody answers on
				to := start(t)
				for _, s := range loadSessions(t) {
					t.Run(s.Name, func(t *testing.T) {
						for _, c := range s.conversations(t) {
							c.replay(t, to, seed)
						}
					})
				}
			})
		}
	}
}

func (c *conversation) replay(t *testing.T, to *net.UDPAddr, seed uint64) {
	conn := dialRaw(t, to)
	k, other := talkRaw(t, conn), talkRaw(t, conn)
	for _, piece := range cuts(c.sent, seed) {
		k.send(piece)
		other.requireAlive() // what was sent before has come by then, apart from what is sent next
	}
	replies, end := k.rest()
	require.Equal(t, "open", end)
	var types []byte
	var timestamps []any
	for _, m := range replies {
		types = append(types, m.Type)
		if m.Type == tPong && m.Fields["node_id"] == nil {
			timestamps = append(timestamps, m.Fields["timestamp"])
		}
	}
	require.Equal(t, c.replies, types, "the types of the replies, in order")

	var pinged []any
	for _, m := range c.frames {
		switch m.Type {
		case tPing:
			pinged = append(pinged, m.Fields["timestamp"])
		case tStore:
			requireFound(t, to, m.Fields["key"], m.Fields["value"])
		}
	}
	require.Equal(t, pinged, timestamps, "each PONG is its PING's")
}

// requireFound requires that a value is stored under the key, as it was sent, and no other
// but that by which the node itself has subscribed, for its client.
func requireFound(t *testing.T, to *net.UDPAddr, key, value any) {
	t.Helper()
	k := talkRaw(t, dialRaw(t, to))
	reply := k.ask(tFindValue, doc{"key": key})
	require.Equal(t, bin("value"), reply.Fields["result"], "result under %x", key)
	found, _ := reply.Fields["value"].([]any)
	found = slices.DeleteFunc(found, func(v any) bool { return v.(map[string]any)["endpoint"] == bin("https://"+to.String()) })
	require.Equal(t, []any{value}, found, "value under %x", key)
}

// TestErlangIDsAreEchoed: an Erlang node names itself by 64 hexadecimal digits
// in the values that it stores; others compare them, so they come back as they
// are, over either transport, but over ALPN for those that would crash an Erlang node.
func TestErlangIDsAreEchoed(t *testing.T) {
	node := startProcess(t)
	id := bin("a7b113782e093e08e59938df87e508d737fff625f007dce556b429b143ef7975")
	for _, id := range []bin{id, id[:20], bin("node-1@host"), bin(unhex(t, string(id))), ""} {
		key := bin("service of " + id)
		value := doc{"node_id": id, "endpoint": bin("https://127.0.0.1:9444"), "ttl": 300}
		k := talkRaw(t, dialRaw(t, node.udp(t)))
		k.send(frame(tStore, doc{"type": bin("store"), "key": key, "value": value}))
		k.requireAlive()

		want := obj{"node_id": id, "endpoint": bin("https://127.0.0.1:9444"), "ttl": int64(300)}
		if len(id) >= 32 {
			requireFound(t, node.udp(t), key, want)
		} else { // one of fewer bytes would crash the Erlang node that reads it
			require.Equal(t, noValue, talkRaw(t, dialRaw(t, node.udp(t))).ask(tFindValue, doc{"key": key}), "node_id %q", id)
		}

		h := newPeer(t)
		reply := talkPeer(t, h, connect(t, h, node.Addrs[0])).ask(tFindValue, doc{"key": key})
		require.Equal(t, []any{want}, reply.Fields["value"])
	}
}
