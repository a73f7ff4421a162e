package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

// An Erlang caller whose routed call is never answered crashes; a libp2p peer that
// matches answers by their order must get none.
func TestRoutedCalls(t *testing.T) {
	call := func(payload wire.Raw) wire.Message {
		return &wire.RPCRoute{Route: wire.Route{Destination: []byte("d"), Source: []byte("s"), MaxHops: 10, Payload: payload}, PayloadType: wire.PayloadCall}
	}
	id := []byte("0123456789abcdef")
	withID := wire.RawMap(wire.Pair{Key: "call_id", Value: wire.RawBytes(id)}, wire.Pair{Key: "procedure", Value: wire.RawText("p")})
	for name, test := range map[string]struct {
		route wire.Message
		id    string // of the answer over ALPN macula; empty for none
	}{
		"a call":                   {call(withID), string(id)},
		"a call without id":        {call(wire.RawMap()), wire.UndefinedID},
		"a call with a long id":    {call(wire.RawMap(wire.Pair{Key: "call_id", Value: wire.RawBytes(make([]byte, 256))})), wire.UndefinedID},
		"a call that is no map":    {call(wire.RawInt(1)), wire.UndefinedID},
		"a reply":                  {&wire.RPCRoute{Route: wire.Route{Destination: []byte("d"), Payload: withID}, PayloadType: "reply"}, ""},
		"without any of its parts": {dhttest.Fields(wire.TypeRPCRoute), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, dialect := range []Dialect{Erlang(), LibP2P()} {
				k := openTalk(t, func(_ *Limits, s *Session) { s.Dialect = dialect })
				k.write(dhttest.Frames(t, test.route, &wire.Ping{}))
				if test.id != "" && !dialect.Extended {
					reply := k.next().(*wire.Reply)
					require.Equal(t, test.id, string(reply.CallID))
					require.Equal(t, wire.CodeNotRouted, reply.Error.Code)
				}
				require.IsType(t, &wire.Pong{}, k.next(), "and nothing else, over %s", dialect.Name)
				k.end()
			}
		})
	}
}
