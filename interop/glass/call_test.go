package glass_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// adder is the record of the recorded service.
func adder(w *world, fields ...any) wire.Raw {
	return mapping(append(fields, "node_id", id32, "endpoint", "https://127.0.0.1:9701", "metadata", wire.RawMap(), "ttl", 300)...)
}

// offering answers CONNECT, and every FIND_VALUE with a value.
func offering(w *world, value wire.Raw, more func(framing.Frame) []byte) func(framing.Frame) []byte {
	return func(f framing.Frame) []byte {
		if f.Type == wire.TypeFindValue {
			return made(wire.TypeFindValueReply, mapping("type", "find_value_reply", "result", "value", "value", value))
		}
		if b := more(f); b != nil {
			return b
		}
		return yes(w)(f)
	}
}

func caller(w *world, answer func(framing.Frame) []byte) (*recorder, *glass.Gateway, *glass.Session) {
	r, g := w.record(answer), w.start()
	s, err := g.Connect(within(w), r.endpoint, id32)
	require.NoError(w, err)
	return r, g, s
}

// requireCallerGone requires that a client crashed, for a reason and no other.
func requireCallerGone(w *world, g *glass.Gateway, s *glass.Session, why glass.Cause) {
	w.Helper()
	require.Len(w, g.Broken(), 1)
	require.Equal(w, glass.CallerCrash, g.Broken()[0].Kind)
	require.Equal(w, why, g.Broken()[0].Why)
	<-s.Done()
	w.Pass(time.Minute)
	require.Zero(w, s.Connections(), "and does not come back")
}

// A call that finds a provider and gets no REPLY crashes its caller after 5 s.
func TestUnansweredCall(t *testing.T) {
	inWorld(t, func(w *world) {
		_, g, s := caller(w, offering(w, wire.RawArray(adder(w)), silent))
		begun := time.Now()
		_, err := s.Call(w.Context(), realm+".add", []byte(`{"x":1}`))
		require.ErrorIs(w, err, glass.ErrCrashed)
		require.InDelta(w, 5*time.Second, time.Since(begun), float64(time.Second))
		requireCallerGone(w, g, s, glass.CauseUnanswered)
	})
}

// A REPLY on its stream ends it well, be it an error, and so it can be called
// again; ids are counters.
func TestAnsweredCall(t *testing.T) {
	all := scenes(t, "live-one-gateway.json")["n12-rpc-call-answered"]
	replies := all.of(t, "a", "send", "REPLY")
	inWorld(t, func(w *world) {
		r, g, s := caller(w, offering(w, wire.RawArray(adder(w)), func(f framing.Frame) []byte {
			if f.Type != wire.TypeRPCRoute {
				return nil
			}
			next := replies[0]
			replies = replies[1:]
			return made(next.Type, next.Payload)
		}))
		result, err := s.Call(w.Context(), realm+".add", []byte(`{"x":2}`))
		require.NoError(w, err)
		require.Equal(w, wire.RawText(`{"sum":3}`), result)
		_, err = s.Call(w.Context(), realm+".add", []byte(`{"x":2}`))
		var failed *glass.CallError
		require.ErrorAs(w, err, &failed)
		require.EqualError(w, failed, "glass: not_found: no such")
		w.Pass(time.Minute)
		require.Empty(w, g.Broken())
		require.NoError(w, s.Say(&wire.Ping{}))

		asked := all.of(w, "c", "send", "FIND_VALUE")
		routed := all.of(w, "c", "send", "RPC_ROUTE")
		require.Len(w, routed, 2)
		for _, f := range r.frames(0) {
			switch f.Type {
			case wire.TypeFindValue:
				requireSame(w, asked[0], f)
				asked = asked[1:]
			case wire.TypeRPCRoute:
				requireSame(w, routed[0], f, "source_node_id", "destination_node_id")
				routed = routed[1:]
			}
		}
		require.Empty(w, asked)
		require.Empty(w, routed)
	})
}

// An empty reply does not end the wait for a provider, and nothing crashes.
func TestCallOfNoService(t *testing.T) {
	miss := scenes(t, "live-one-gateway.json")["n13-rpc-call-miss"].of(t, "a", "send", "FIND_VALUE_REPLY")[0]
	inWorld(t, func(w *world) {
		_, g, s := caller(w, func(f framing.Frame) []byte {
			if f.Type == wire.TypeFindValue {
				return made(miss.Type, miss.Payload)
			}
			return yes(w)(f)
		})
		begun := time.Now()
		_, err := s.Call(w.Context(), realm+".nowhere", nil)
		require.ErrorIs(w, err, glass.ErrDHTTimeout)
		require.GreaterOrEqual(w, time.Since(begun), 5*time.Second)
		require.Empty(w, g.Broken())
		require.NoError(w, s.Say(&wire.Ping{}))
	})
}

// What a service's record must not be.
func TestServiceRecordsThatKill(t *testing.T) {
	for name, test := range map[string]struct {
		value func(w *world) wire.Raw
		why   glass.Cause
	}{
		"no node_id":            {func(*world) wire.Raw { return wire.RawArray(mapping("endpoint", "https://127.0.0.1:1")) }, glass.CauseServiceNodeID},
		"a key that is str":     {func(*world) wire.Raw { return wire.RawArray(inStr("node_id", id32)) }, glass.CauseServiceKey},
		"a key of 256 bytes":    {func(w *world) wire.Raw { return wire.RawArray(adder(w, strings.Repeat("k", 256), 1)) }, glass.CauseServiceKey},
		"a list without values": {func(*world) wire.Raw { return wire.Raw{0xa0} }, glass.CauseNoProviders},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				_, g, s := caller(w, offering(w, test.value(w), silent))
				_, err := s.Call(w.Context(), realm+".add", nil)
				require.ErrorIs(w, err, glass.ErrCrashed)
				requireCallerGone(w, g, s, test.why)
			})
		})
	}
}

// A reply to a discovery is taken by the one that is open for longest, whatever
// its key.
func TestDiscoveriesAreNotToldApart(t *testing.T) {
	inWorld(t, func(w *world) {
		answered := false
		r, g, s := caller(w, func(f framing.Frame) []byte {
			switch {
			case f.Type == wire.TypeRPCRoute:
				payload, _ := wire.Raw(f.Payload).Field("payload")
				id, _ := payload.Field("call_id")
				return made(wire.TypeReply, mapping("call_id", id, "result", "ok"))
			case f.Type == wire.TypeFindValue && !answered:
				answered = true
				return nil // the first gets what the second asked for
			case f.Type == wire.TypeFindValue:
				return made(wire.TypeFindValueReply, mapping("result", "value", "value", wire.RawArray(adder(w))))
			}
			return yes(w)(f)
		})
		first := make(chan error, 1)
		go func() { _, err := s.Call(w.Context(), realm+".first", nil); first <- err }()
		w.Pass(time.Second)
		_, err := s.Call(w.Context(), realm+".second", nil)
		require.ErrorIs(w, err, glass.ErrDHTTimeout)
		require.NoError(w, <-first)
		require.Len(w, r.conns(), 1)
		require.Empty(w, g.Broken())
	})
}

// request_to of the recorded node: what it sends, by both ways, and that it
// takes the RPC_REPLY from its CONNECTed stream.
func TestRequest(t *testing.T) {
	all := scenes(t, "live-one-gateway.json")
	for name, test := range map[string]struct {
		way    glass.Way
		scene  string
		target string
		bare   bool
		fails  string
	}{
		"on its stream":  {glass.ByStream, "n08-rpc-request", hexB, false, ""},
		"by a relay":     {glass.ByRelay, "n09-rpc-request-nobody", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", true, "glass: target_peer_not_found"},
		"no such at all": {glass.ByStream, "n10-rpc-request-noproc", hexB, false, "glass: procedure_not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			sc := all[test.scene]
			inWorld(t, func(w *world) {
				hub := w.start(glass.NodeID(unhex(w, idA)))
				node, target := w.start(), w.start()
				s, err := node.Connect(within(w), hub.Endpoint(), []byte(hexC))
				require.NoError(w, err)
				b, err := target.Connect(within(w), hub.Endpoint(), []byte(hexB))
				require.NoError(w, err)
				b.Register(realm+".echo", func(args []byte) glass.Outcome {
					return glass.Outcome{Result: []byte(`{"echo":` + string(args) + `}`)}
				})
				want := sc.of(w, "c", "send", "RPC_REQUEST")[0]
				procedure, _ := wire.Raw(want.Payload).Field("procedure")
				called, _ := procedure.Bytes()
				result, err := s.Request(w.Context(), test.way, []byte(test.target), string(called), []byte(`{"n":7}`))
				if test.fails != "" {
					require.EqualError(w, err, test.fails)
				} else {
					require.NoError(w, err)
					require.Equal(w, wire.RawText(`{"echo":{"n":7}}`), result)
				}
				require.Equal(w, test.bare, len(hub.Lost()) == 1, "%v", hub.Lost())
				for _, m := range b.Messages() {
					got, _, err := framing.DecodeFrame(encode(w, m))
					require.NoError(w, err)
					require.Equal(w, wire.TypeRPCRequest, got.Type)
				}
				w.Pass(time.Minute)
				require.Empty(w, hub.Broken())
				require.Empty(w, node.Broken())
				require.Empty(w, target.Broken())
			})
		})
	}
}

// The bytes of a request, and of the relay_request that is no frame.
func TestRequestAsRecorded(t *testing.T) {
	all := scenes(t, "live-one-gateway.json")
	nobody := all["n09-rpc-request-nobody"]
	want := nobody.of(t, "c", "send", "RPC_REQUEST")[0]
	inWorld(t, func(w *world) {
		r, g, s := caller(w, yes(w))
		s.Close()
		s, err := g.Connect(within(w), r.endpoint, []byte(hexC))
		require.NoError(w, err)
		for range 4 { // up to the id of the recorded one
			_, err := s.Request(w.Context(), glass.ByStream, []byte("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"), realm+".echo", []byte(`{"n":7}`))
			require.ErrorIs(w, err, glass.ErrTimeout, "and it lives on")
		}
		var seen []framing.Frame
		for _, f := range r.frames(1) {
			if f.Type == wire.TypeRPCRequest {
				seen = append(seen, f)
			}
		}
		require.Len(w, seen, 4)
		requireSame(w, want, seen[3], "timestamp")
		require.Empty(w, g.Broken())
	})
}
