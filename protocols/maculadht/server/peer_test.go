package server_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Answers, at once and later, and what is pushed do not get in each other's way.
func TestPushesBetweenReplies(t *testing.T) {
	const asked, pushers, pushed = 1500, 8, 200
	r := newRig(t, limits(func(l *server.Limits) { l.Queue, l.Slots = 16<<20, asked }))
	var fillers sync.WaitGroup
	require.NoError(t, r.Mux.Handle(typeAsk, func(p *server.Peer, f framing.Frame) error {
		n := numberOf(f)
		if n%3 > 0 {
			return p.Reply(pong(n))
		}
		slot, err := p.Defer(server.DefaultLimits().SlotTime, pong(1<<30))
		if err != nil {
			return err
		}
		fillers.Go(func() {
			if err := slot.Fill(pong(n)); err != nil {
				t.Error(err)
			}
		})
		return nil
	}))
	p := r.serve(server.LibP2P())

	var senders sync.WaitGroup
	for who := range pushers {
		senders.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(who), 1))
			for n := range uint32(pushed) {
				payload := append([]byte{byte(who)}, binary.BigEndian.AppendUint32(nil, n)...)
				payload = append(payload, bytes.Repeat([]byte{byte(n)}, rng.IntN(2000))...)
				if err := p.Peer.Push(dhttest.Frame(wire.TypePublish, payload...)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Go(func() {
		for n := range uint32(asked) {
			if _, err := p.Write(numbered(n)); err != nil {
				t.Error(err)
			}
		}
	})
	var answers uint32
	var pushes [pushers]uint32
	for range asked + pushers*pushed {
		switch f := p.Next(); f.Type {
		case wire.TypePong:
			m, err := f.Decode()
			require.NoError(t, err)
			require.Equal(t, wire.Some(int64(answers)), m.(*wire.Pong).Timestamp)
			answers++
		case wire.TypePublish:
			who, n := f.Payload[0], binary.BigEndian.Uint32(f.Payload[1:])
			require.Equal(t, pushes[who], n, "of pusher %d", who)
			rest := f.Payload[5:]
			require.Equal(t, len(rest), bytes.Count(rest, []byte{byte(n)}), "it is whole")
			pushes[who]++
		default:
			t.Fatalf("a frame of type %s", f.Type)
		}
	}
	senders.Wait()
	fillers.Wait()
	require.EqualValues(t, asked, answers)
	p.RequireEnd()
	require.Zero(t, r.Mux.Stats().PushesDropped)
	r.RequireNothingHeld()
}
