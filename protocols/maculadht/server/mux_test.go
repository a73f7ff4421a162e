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

// answers returns a handler that answers with a number.
func answers(n uint32) server.Handler {
	return func(p *server.Peer, _ framing.Frame) error { return p.Reply(pong(n)) }
}

func TestHandleOnce(t *testing.T) {
	m, err := server.NewMux()
	require.NoError(t, err)
	for typ := range wire.Type(0xff) {
		require.Error(t, m.Handle(typ, nil), "no handler for %s", typ)
		require.NoError(t, m.Handle(typ, answers(1)))
		require.ErrorIs(t, m.Handle(typ, answers(2)), server.ErrHandled)
	}
}

func TestHandleOnOpenStreams(t *testing.T) {
	r := newRig(t)
	p := r.serve(server.LibP2P())
	p.ask(1) // dropped, and read before the Ping
	p.Send(dhttest.Frames(t, &wire.Ping{Timestamp: wire.Some[int64](2)}))
	p.requireAnswers(2)
	require.NoError(t, r.Mux.Handle(typeAsk, answers(3)))
	p.ask(1)
	p.requireAnswers(3)
	p.RequireEnd()
}

func TestMuxWith(t *testing.T) {
	r := newRig(t)
	first := r.Mux
	require.NoError(t, first.Handle(typeAsk, answers(1)))
	const typeLater = typeAsk + 1
	ofFirst := r.serve(server.LibP2P())
	second := first.With(typeAsk, answers(2))
	r.Mux = second
	ofSecond := r.serve(server.LibP2P())
	require.NoError(t, first.Handle(typeLater, answers(3)))
	require.NoError(t, second.Handle(typeLater, answers(4)))
	require.ErrorIs(t, second.Handle(typeAsk, answers(5)), server.ErrHandled)

	for _, test := range []struct {
		peer       *memPeer
		ask, later uint32
	}{{ofFirst, 1, 3}, {ofSecond, 2, 4}} {
		test.peer.ask(0)
		test.peer.requireAnswers(test.ask)
		test.peer.Send(dhttest.Frame(typeLater))
		test.peer.requireAnswers(test.later)
		test.peer.Send(dhttest.Frames(t, &wire.Ping{Timestamp: wire.Some[int64](6)}))
		test.peer.requireAnswers(6)
		test.peer.RequireEnd()
	}
	require.Equal(t, server.MuxStats{Frames: 8, Unknown: 6}, first.Stats())
	require.Equal(t, first.Stats(), second.Stats())
}

// A frame that nobody handles is dropped if it could be read, and ends the stream
// if not; of a type that is none of Macula's nobody knows how to read it.
func TestFramesWithoutHandler(t *testing.T) {
	publish := dhttest.Frames(t, &wire.Publish{Topic: "t"})
	tests := []struct {
		name  string
		frame []byte
		code  proto.ResetCode
	}{
		{"well-formed", publish, proto.ResetGone},
		{"a field is missing", dhttest.Frame(wire.TypePublish, 0x80), proto.ResetGone},
		{"not a map", dhttest.Frame(wire.TypePublish, 0x90), proto.ResetNotMap},
		{"broken", dhttest.Frame(wire.TypePublish, 0x81), proto.ResetBadMsgpack},
		{"empty", dhttest.Frame(wire.TypePublish), proto.ResetBadMsgpack},
		{"a reply that nobody waits for", dhttest.Frames(t, &wire.Pong{}), proto.ResetGone},
		{"of an unknown type", dhttest.Frame(0xee), proto.ResetGone},
		{"broken, of an unknown type", dhttest.Frame(0xee, 0x81), proto.ResetGone},
		{"of another version", []byte{2, byte(wire.TypePublish), 0, 0, 0, 0, 0, 0}, proto.ResetBadVersion},
		{"too long", []byte{framing.Version, byte(wire.TypePublish), 0, 0, 0xff, 0, 0, 0}, proto.ResetTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			p := r.serve(server.LibP2P())
			p.Send(test.frame)
			if test.code != proto.ResetGone {
				require.Error(t, <-p.Ended)
				require.Equal(t, test.code, (<-p.Stream.Resets).Code)
				require.EqualValues(t, 1, r.Mux.Stats().Resets[test.code])
			} else {
				p.Send(dhttest.Frames(t, &wire.Ping{Timestamp: wire.Some[int64](1)}))
				p.requireAnswers(1)
				p.RequireEnd()
			}
			r.RequireNothingHeld()
		})
	}
}

// What is registered later is handled on the streams of both.
func TestMuxWithSeesWhatComesLater(t *testing.T) {
	r := newRig(t)
	below := r.Mux
	r.Mux = below.With(typeAsk, answers(1))
	p := r.serve(server.LibP2P())
	const typeLater = typeAsk + 1
	require.NoError(t, below.Handle(typeLater, answers(2)))
	p.Send(dhttest.Frame(typeLater))
	p.requireAnswers(2)
	p.RequireEnd()
}
