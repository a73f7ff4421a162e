package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// newStrictRig returns a rig that answers nobody before a CONNECT, but for its own
// greeting.
func newStrictRig(t *testing.T) *rig {
	t.Helper()
	h := newHandlers(t, server.WithStrict())
	require.NoError(t, h.Mux().Open(0xe0, func(*server.Peer, framing.Frame) bool { return true }))
	r := newRigOf(t, h)
	require.NoError(t, r.Mux.Handle(typeAsk, answers(3)))
	return r
}

func connectOf(realm string) *wire.Connect {
	return &wire.Connect{Version: wire.ProtocolVersion, NodeID: []byte("me"), RealmID: realm}
}

func TestStrict(t *testing.T) {
	call := func(procedure string) *wire.Call { return &wire.Call{Procedure: procedure, CallID: []byte("c")} }
	code := func(m wire.Message) string {
		switch m := m.(type) {
		case *wire.FindValueReply:
			return m.Reason
		case *wire.FindNodeReply:
			return m.Reason
		case *wire.Reply:
			if m.Error != nil {
				return m.Error.Code
			}
		case *wire.RPCReply:
			return m.Error
		}
		return ""
	}
	for _, d := range []server.Dialect{server.LibP2P(), server.Erlang()} {
		t.Run(d.Name, func(t *testing.T) {
			for name, test := range map[string]struct {
				ask  wire.Message
				open bool // served all the same over ALPN
			}{
				"FIND_VALUE":     {&wire.FindValue{Key: []byte("k")}, false},
				"FIND_NODE":      {&wire.FindNode{Target: []byte("k")}, false},
				"_dht.store":     {call(wire.ProcedureStore), false},
				"the gateways":   {call(wire.ProcedureListGateways), true},
				"another call":   {call("x"), false},
				"an RPC_REQUEST": {&wire.RPCRequest{RequestID: []byte("r")}, false},
			} {
				t.Run(name, func(t *testing.T) {
					r := newStrictRig(t)
					p := r.serve(d)
					defer p.Close()
					p.Send(dhttest.Frames(t, test.ask))
					want := wire.CodeConnectFirst
					if test.open && !d.Extended {
						want = ""
					}
					require.Equal(t, want, code(p.Message()))
					p.Send(dhttest.Frames(t, connectOf(proto.DefaultRealm)))
					require.IsType(t, &wire.Pong{}, p.Message(), "the stream goes on")
					p.ask(1)
					p.requireAnswers(3)
					p.Send(dhttest.Frames(t, test.ask))
					require.NotEqual(t, wire.CodeConnectFirst, code(p.Message()))
					refused := uint64(1)
					if want == "" {
						refused = 0
					}
					require.Equal(t, refused, r.Mux.Stats().Unmet)
				})
			}
			for name, frame := range map[string][]byte{
				"PING":               dhttest.Frames(t, &wire.Ping{}),
				"STORE":              dhttest.Frames(t, &wire.Store{Key: []byte("k"), Value: wire.RawMap()}),
				"what has a handler": numbered(1),
				"an unknown type":    dhttest.Frame(0xef),
			} {
				t.Run(name, func(t *testing.T) {
					r := newStrictRig(t)
					p := r.serve(d)
					defer p.Close()
					p.Send(frame)
					require.ErrorIs(t, <-p.Ended, proto.ErrConnectFirst)
					stats := r.Mux.Stats()
					require.EqualValues(t, 1, stats.Unmet)
					require.EqualValues(t, 1, stats.Resets[proto.ResetConnectFirst])
				})
			}
			t.Run("met elsewhere", func(t *testing.T) {
				r, met := newStrictRig(t), false
				p := &memPeer{r.ServeSession(&server.Session{Dialect: d, Met: func() bool { return met }})}
				defer p.Close()
				p.Send(dhttest.Frames(t, &wire.FindValue{Key: []byte("k")}))
				require.Equal(t, wire.CodeConnectFirst, code(p.Message()))
				met = true
				p.ask(1)
				p.requireAnswers(3)
			})
			t.Run("of another realm", func(t *testing.T) {
				r := newStrictRig(t)
				p := r.serve(d)
				defer p.Close()
				p.Send(dhttest.Frames(t, connectOf("another")))
				require.Equal(t, wire.ReasonRealmMismatch, p.Message().(*wire.Disconnect).Reason)
				require.Equal(t, map[string]uint64{wire.ReasonRealmMismatch: 1}, r.Mux.Stats().TurnedAway)
			})
		})
	}
}

func TestOpenOnce(t *testing.T) {
	m, err := server.NewMux()
	require.NoError(t, err)
	opens := func(*server.Peer, framing.Frame) bool { return true }
	require.Error(t, m.Open(typeAsk, nil))
	require.NoError(t, m.Open(typeAsk, opens))
	require.ErrorIs(t, m.Open(typeAsk, opens), server.ErrHandled)
}
