package server_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// A stream of an Erlang node on which a CONNECT came is never ended here, whatever
// comes on it: what can not be served is lost.
func TestConnectedStreamsAreSpared(t *testing.T) {
	head := func(version byte, size uint32) []byte {
		b := dhttest.Frame(wire.TypePing)
		b[0], b[4], b[5], b[6], b[7] = version, byte(size>>24), byte(size>>16), byte(size>>8), byte(size)
		return b
	}
	drain := func(k *talk) {
		for k.Account.AllowFrames(1) {
		}
	}
	for name, test := range map[string]struct {
		does   func(k *talk)
		deaf   bool // nothing is understood any more
		spared uint64
	}{
		"broken MessagePack": {func(k *talk) { k.Send(dhttest.Frame(wire.TypeFindValue, 0x81)) }, false, 1},
		"no map":             {func(k *talk) { k.Send(dhttest.Frame(wire.TypePublish, 1)) }, false, 1},
		"too large": {func(k *talk) {
			k.Send(head(framing.Version, wire.MaxPayload+1))
			k.Send(make([]byte, wire.MaxPayload+1))
		}, false, 1},
		"another version":  {func(k *talk) { k.Send(head(2, 5)); k.Send(make([]byte, 100)) }, true, 1},
		"a map, no header": {func(k *talk) { k.Send(wire.RawMap(wire.Pair{Key: "type", Value: wire.RawText("x")})) }, true, 1},
		"half a frame, and its rest later": {func(k *talk) {
			b := dhttest.Frames(k.T, &wire.Publish{Topic: "t", Payload: wire.RawBytes(make([]byte, 1000))})
			k.Send(b[:500])
			time.Sleep(time.Minute)
			k.Send(b[500:])
		}, false, 1},
		"half a header, and its rest later": {func(k *talk) {
			b := dhttest.Frames(k.T, &wire.Publish{Topic: "t"})
			k.Send(b[:5])
			time.Sleep(time.Minute)
			k.Send(b[5:])
		}, false, 1},
		"quiet for a day": {func(*talk) { time.Sleep(24 * time.Hour) }, false, 0},
		"over its budget, without a word for it": {func(k *talk) {
			drain(k)
			k.Send(dhttest.Frames(k.T, &wire.Ping{}))
			synctest.Wait()
			time.Sleep(time.Minute)
		}, false, 1},
		"over its budget, a routed call": {func(k *talk) {
			drain(k)
			call := &wire.RPCRoute{Route: wire.Route{Destination: []byte("d"), Payload: wire.RawMap(wire.Pair{Key: "call_id", Value: wire.RawText("id")})}, PayloadType: wire.PayloadCall}
			reply := k.Ask(call).(*wire.Reply)
			require.Equal(k.T, wire.CodeBusy, reply.Error.Code)
			require.Equal(k.T, "id", string(reply.CallID))
			time.Sleep(time.Minute)
		}, false, 0},
		"no memory for a frame": {func(k *talk) {
			held, _ := k.Account.Usage()
			rest := int(k.Mux.Budget().Limits().Source.Memory - held.Memory)
			require.NoError(k.T, k.Account.ReserveMemory(rest, 255))
			k.Send(dhttest.Frames(k.T, &wire.Publish{Topic: "t", Payload: wire.RawBytes(make([]byte, 100_000))}))
			k.Account.ReleaseMemory(rest)
		}, false, 1},
		"answers that nobody takes": {func(k *talk) {
			k.Send(dhttest.Frames(k.T, &wire.Ping{}))
			time.Sleep(time.Hour)
			require.IsType(k.T, &wire.Pong{}, k.Message())
		}, false, 0},
		"a handler's error": {func(k *talk) {
			require.NoError(k.T, k.Mux.Handle(wire.TypeCast, func(*server.Peer, framing.Frame) error { return server.ErrNoRoom }))
			k.Send(dhttest.Frame(wire.TypeCast, 0x80))
		}, false, 1},
	} {
		for _, realm := range []string{proto.DefaultRealm, "another"} {
			if realm != proto.DefaultRealm && (name == "over its budget, a routed call" || name == "answers that nobody takes" || name == "a handler's error" || strings.HasPrefix(name, "no map") || strings.HasPrefix(name, "broken")) {
				continue // a refused stream answers less, and looks at less
			}
			t.Run(name+" in "+realm, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := openTalk(t, nil)
					k.Ask(&wire.Connect{NodeID: []byte("n"), RealmID: realm, Endpoint: "https://192.0.2.1:1"})
					test.does(k)
					synctest.Wait()
					require.Empty(t, k.Stream.Resets)
					require.Equal(t, test.spared, k.Mux.Stats().Spared)
					if !test.deaf {
						require.NotNil(t, k.Ask(&wire.Call{Procedure: "p", CallID: []byte("id")}).(*wire.Reply).Error)
					}
					k.end()
				})
			})
		}
	}
}

// The same ends a stream that never CONNECTed, and one of a libp2p peer.
func TestOtherStreamsAreNotSpared(t *testing.T) {
	for name, test := range map[string]struct {
		dialect server.Dialect
		connect bool
	}{"libp2p": {server.LibP2P(), true}, "Erlang without CONNECT": {server.Erlang(), false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := openTalk(t, func(s *server.Session) { s.Dialect = test.dialect })
				if test.connect {
					k.Ask(&wire.Connect{NodeID: []byte("n"), RealmID: proto.DefaultRealm})
				}
				k.Send(dhttest.Frame(wire.TypePing, 1))
				require.Equal(t, proto.ResetNotMap, (<-k.Stream.Resets).Code)
				require.Error(t, <-k.Ended)
				require.Zero(t, k.Mux.Stats().Spared)
			})
		})
	}
}

// After its DISCONNECT an Erlang node is answered what it waits for, with an error,
// and nothing else.
func TestTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		k := openTalk(t, func(s *server.Session) {
			s.TurnedAway = func(why *wire.Disconnect) { told = append(told, why.Reason) }
		})
		wrong := &wire.Connect{NodeID: []byte("n"), RealmID: "another", Endpoint: "https://192.0.2.1:1"}
		for range 2 {
			require.Equal(t, wire.ReasonRealmMismatch, k.Ask(wrong).(*wire.Disconnect).Reason)
		}
		require.Equal(t, wire.ReasonInvalidConnect, k.Ask(dhttest.Fields(wire.TypeConnect, wire.Pair{Key: "realm_id", Value: wire.RawText(proto.DefaultRealm)})).(*wire.Disconnect).Reason)
		require.Equal(t, wire.ReasonRealmMismatch, k.Ask(wrong).(*wire.Disconnect).Reason)

		value := dhttest.Value(servertest.ErlangID("n"))
		k.Send(bytes.Join([][]byte{
			dhttest.Frames(t, &wire.Store{Key: []byte("k"), Value: value}, &wire.Ping{}, &wire.NATProbe{RequestID: []byte("r")}),
			dhttest.Frames(t, &wire.Subscribe{Topics: []string{"t"}}, &wire.Publish{Topic: "t"}),
			dhttest.Frame(0xee, 0x80),
		}, nil))
		require.Equal(t, wire.ReasonRealmMismatch, k.Ask(&wire.FindValue{Key: []byte("k")}).(*wire.FindValueReply).Reason)
		require.Equal(t, wire.ReasonRealmMismatch, k.Ask(&wire.FindNode{Target: []byte("k")}).(*wire.FindNodeReply).Reason)
		for _, procedure := range []string{wire.ProcedureListGateways, wire.ProcedureStore, "p"} {
			reply := k.Ask(&wire.Call{Procedure: procedure, CallID: []byte("id")}).(*wire.Reply)
			require.Equal(t, "id", string(reply.CallID))
			require.Equal(t, wire.ReasonRealmMismatch, reply.Error.Code)
			require.NotEmpty(t, reply.Error.Message)
		}
		time.Sleep(24 * time.Hour)
		require.Empty(t, k.Stream.Resets)
		require.Zero(t, k.handlers.Stats().Stored)
		require.Equal(t, []string{"realm_mismatch", "realm_mismatch", "invalid_connect", "realm_mismatch"}, told)

		wrong.RealmID = proto.DefaultRealm
		require.IsType(t, &wire.Pong{}, k.Ask(wrong), "of the right realm it is taken")
		require.Empty(t, k.Ask(&wire.FindValue{Key: []byte("k")}).(*wire.FindValueReply).Reason)
		k.end()
	})
}
