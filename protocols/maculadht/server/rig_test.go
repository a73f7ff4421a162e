package server_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// typeAsk is none of Macula's types: a test handles it itself.
const typeAsk wire.Type = 0xe1

// newHandlers returns handlers of the DHT on a routing server of their own.
func newHandlers(t testing.TB, opts ...server.Option) *dht.Handlers {
	t.Helper()
	routes, err := routing.NewServer(routing.ID{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, routes.Close()) })
	mux, err := server.NewMux(opts...)
	require.NoError(t, err)
	h, err := dht.New(mux, routes)
	require.NoError(t, err)
	return h
}

// rig serves streams in memory with the DHT's handlers.
type rig struct {
	*servertest.Rig

	handlers *dht.Handlers
}

func newRig(t testing.TB, opts ...server.Option) *rig {
	t.Helper()
	return newRigOf(t, newHandlers(t, opts...))
}

func newRigOf(t testing.TB, h *dht.Handlers) *rig {
	t.Helper()
	return &rig{servertest.NewRig(t, h.Mux()), h}
}

// limits returns the default limits with these changed.
func limits(change func(*server.Limits)) server.Option {
	l := server.DefaultLimits()
	change(&l)
	return server.WithLimits(l)
}

// memPeer is the other end of a stream, which asks by numbers.
type memPeer struct{ *servertest.Asker }

func (r *rig) serve(d server.Dialect) *memPeer {
	r.T.Helper()
	return &memPeer{r.Serve(d)}
}

func numbered(n uint32) []byte {
	return dhttest.Frame(typeAsk, binary.BigEndian.AppendUint32(nil, n)...)
}

func numberOf(f framing.Frame) uint32 { return binary.BigEndian.Uint32(f.Payload) }

func pong(n uint32) *wire.Pong { return &wire.Pong{Timestamp: wire.Some(int64(n))} }

func (p *memPeer) ask(numbers ...uint32) {
	p.T.Helper()
	for _, n := range numbers {
		p.Send(numbered(n))
	}
}

func (p *memPeer) requireAnswers(numbers ...uint32) {
	p.T.Helper()
	for _, n := range numbers {
		require.Equal(p.T, wire.Some(int64(n)), p.Message().(*wire.Pong).Timestamp)
	}
}

// talk is the only stream of its rig.
type talk struct {
	*servertest.Asker

	*rig
}

// openTalk serves a stream. Defaults that a test changes are in session.
func openTalk(t testing.TB, change func(*server.Session)) *talk {
	t.Helper()
	session := &server.Session{Dialect: server.Erlang()}
	if change != nil {
		change(session)
	}
	r := newRig(t)
	return &talk{r.ServeSession(session), r}
}

// end ends the stream and requires that nothing is held for it any more.
func (k *talk) end() {
	k.Asker.T.Helper()
	k.Close()
	<-k.Ended
	k.RequireNothingHeld()
}
