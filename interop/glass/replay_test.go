package glass_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// exchange is what was sent to the reference, and what came back.
type exchange struct {
	Name       string   `json:"name"`
	Outcome    string   `json:"outcome"`
	Received   string   `json:"recv_hex"`
	Sent       []string `json:"sent_frames_hex"`
	Crashed    bool     `json:"reference_crashed"`
	Hung       bool     `json:"reference_hung"`
	Undecoded  bool     `json:"reference_logged_decode_error"`
	SameStream string   `json:"later_ping_same_stream"`
}

const theNodeID = "70f933cbf8b84a4d4e9aabcec0cf98dc55f7d65373dfb9fe0cebc8f2df8d29fc"

// TestReplay sends a gateway all that was once sent to the reference, in the
// same order: it answers the same, and breaks at the same.
func TestReplay(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../compat/wire/testdata/macula-0.20.3.json")
	require.NoError(t, err)
	var recorded struct{ Exchanges []exchange }
	require.NoError(t, json.Unmarshal(text, &recorded))
	require.Len(t, recorded.Exchanges, 112)

	fresh := func() *glass.Gateway { return start(t, glass.NodeID(unhex(t, theNodeID)), glass.DiscoverEvery(never)) }
	g := fresh()
	for i, e := range recorded.Exchanges {
		ok := t.Run(strconv.Itoa(i)+" "+e.Name, func(t *testing.T) {
			if e.Name == "find value with ttl 1 after 1.5s [bin]" {
				require.NotEmpty(t, e.Received, "ttl is not enforced, so there is nothing to wait for")
			}
			e.replay(t, g)
		})
		require.True(t, ok, "those that follow build on it")
		if e.Hung || e.Crashed {
			g = fresh() // the reference was restarted with an empty store
		}
	}
}

func (e exchange) replay(t *testing.T, g *glass.Gateway) {
	before, breaks := g.Stats(), len(g.Broken())
	happened := func() int { s := g.Stats(); return s.Total() + s.Lost + len(g.Broken()) }
	conn := dial(t, g)
	k := conn.open()
	for _, b := range e.writes(t) {
		seen := happened()
		k.send(b)
		eventually(t, func() bool { return happened() > seen }, "it came")
	}

	want := decodeAll(t, unhex(t, e.Received))
	var got []any
	var end error
	switch {
	case strings.HasPrefix(e.Name, "frame + FIN"):
		require.NoError(t, k.Close())
		for range want {
			f, err := k.next()
			require.NoError(t, err)
			got = append(got, decode(t, f))
		}
	default:
		got, end = k.untilMarker()
	}
	require.Equal(t, normal(want, "https://127.0.0.1:9443"), normal(got, g.Endpoint()))

	var closed *quic.ApplicationError
	switch {
	case strings.Contains(e.Outcome, "EOF (FIN)"):
		require.ErrorIs(t, end, io.EOF)
	case strings.Contains(e.Outcome, "Application error"):
		require.ErrorAs(t, end, &closed)
		require.Zero(t, closed.ErrorCode)
	default:
		require.NoError(t, end)
	}
	after := g.Broken()[breaks:]
	switch {
	case e.Crashed:
		require.Len(t, after, 1)
		require.Contains(t, []glass.Kind{glass.Crash, glass.GatewayCrash}, after[0].Kind, "%v", after)
	case e.Hung:
		require.Len(t, after, 1)
		require.Equal(t, glass.Hang, after[0].Kind, "%v", after)
	case strings.Contains(e.Name, "peer.gateway.* key"):
		require.Equal(t, []glass.Break{{Kind: glass.Discovery, Why: glass.CauseGatewayKey, Detail: "peer.gateway.go1"}}, after)
	default:
		require.Empty(t, after)
	}
	if e.Undecoded {
		require.Greater(t, g.Stats().Lost, before.Lost)
	}
	if !e.Hung {
		dial(t, g).ask(&wire.Ping{})
	}
}

// untilMarker returns what comes before the answer to a PING that is sent last.
// That may be lost with the end of what came before it.
func (k *talk) untilMarker() (replies []any, end error) {
	k.tb.Helper()
	const marker = 0x6d61726b
	for {
		if _, err := k.Write(encode(k.tb, &wire.Ping{Timestamp: wire.Some(int64(marker))})); err != nil {
			_, err = k.next() // says how it ended
			return replies, err
		}
		k.SetReadDeadline(time.Now().Add(4 * glass.DefaultEventGap))
		f, err := k.next()
		for ; err == nil; f, err = k.next() {
			reply := decode(k.tb, f)
			if m, ok := reply.(message); ok && m.fields["timestamp"] == int64(marker) {
				return replies, nil
			}
			replies = append(replies, reply)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return replies, err
		}
	}
}

var abbreviated = regexp.MustCompile(`^([0-9a-f]+)\.\.\. \((\d+) bytes\)$`)

// writes returns what was sent. What is missing of the long ones is made up: a
// bin of zeros that fills them.
func (e exchange) writes(t *testing.T) (writes [][]byte) {
	for _, digits := range e.Sent {
		if short := abbreviated.FindStringSubmatch(digits); short != nil {
			size, err := strconv.Atoi(short[2])
			require.NoError(t, err)
			b := unhex(t, short[1])
			writes = append(writes, append(b, make([]byte, size-len(b))...))
			continue
		}
		writes = append(writes, unhex(t, digits))
	}
	return writes
}

func unhex(tb testing.TB, digits string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(digits)
	require.NoError(tb, err)
	return b
}

// message is a frame as it is compared; bin and str differ in it.
type message struct {
	typ    wire.Type
	fields map[string]any
}

type (
	bin string
	str string
)

func decodeAll(tb testing.TB, b []byte) (messages []any) {
	tb.Helper()
	for len(b) > 0 {
		f, rest, err := framing.DecodeFrame(b)
		require.NoError(tb, err)
		messages = append(messages, decode(tb, f))
		b = rest
	}
	return messages
}

func decode(tb testing.TB, f framing.Frame) any {
	tb.Helper()
	require.NoError(tb, f.Check())
	return message{f.Type, plain(f.Payload).(map[string]any)}
}

// plain is a value as it is compared.
func plain(v wire.Raw) any {
	switch v.Kind() {
	case wire.Bin:
		b, _ := v.Bytes()
		return bin(b)
	case wire.Text:
		b, _ := v.Bytes()
		return str(b)
	case wire.Int:
		if u, _, err := msgp.ReadUint64Bytes(v); err == nil && u > 1<<62 {
			return u
		}
		i, _ := v.Int()
		return i
	case wire.Float:
		f, _, _ := msgp.ReadFloat64Bytes(v)
		return f
	case wire.Bool:
		b, _ := v.Bool()
		return b
	case wire.Array:
		list := []any{}
		for elem := range v.Elems() {
			list = append(list, plain(elem))
		}
		return list
	case wire.Map:
		m := map[string]any{}
		for key, value := range v.Fields() {
			name := ""
			switch k := plain(key).(type) {
			case bin:
				name = string(k)
			case str:
				name = "str:" + string(k)
			}
			m[name] = plain(value)
		}
		return m
	}
	return nil
}

// normal puts marks where each time is another value.
func normal(messages []any, endpoint string) []any {
	for _, m := range messages {
		m := m.(message)
		for _, name := range []string{"timestamp", "server_time"} {
			if ms, ok := m.fields[name].(int64); ok && ms > 1_790_000_000_000 {
				m.fields[name] = "the time"
			}
		}
		if m.fields["endpoint"] == bin(endpoint) {
			m.fields["endpoint"] = "its endpoint"
		}
		if port, ok := m.fields["reflexive_port"].(int64); ok && port > 0 {
			m.fields["reflexive_port"] = "a port"
		}
		nodes, _ := m.fields["nodes"].([]any)
		for _, n := range nodes {
			n := n.(map[string]any)
			if ms, ok := n["last_seen"].(int64); ok && ms > 1_790_000_000_000 {
				n["last_seen"] = "the time"
			}
		}
	}
	return messages
}
