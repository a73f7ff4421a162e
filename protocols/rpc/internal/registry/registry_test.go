package registry_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type stream struct{ net.Conn }

func (s stream) Reset(proto.ResetCode) { s.Close() }

// serve returns a stream from an address, as handlers see it.
func serve(t *testing.T, from string) *server.Peer {
	t.Helper()
	mux, err := server.NewMux()
	require.NoError(t, err)
	peers := make(chan *server.Peer, 1)
	require.NoError(t, mux.Handle(wire.TypeRegisterProcedure, func(p *server.Peer, _ framing.Frame) error {
		peers <- p
		return nil
	}))
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = mux.Serve(context.Background(), stream{ours}, &server.Session{Dialect: server.Erlang(), Remote: netip.MustParseAddrPort(from)})
	}()
	t.Cleanup(func() { theirs.Close(); <-ended })
	go io.Copy(io.Discard, theirs)
	b, err := framing.AppendFrame(nil, &wire.RegisterProcedure{Procedure: "p"})
	require.NoError(t, err)
	_, err = theirs.Write(b)
	require.NoError(t, err)
	return <-peers
}

// registrations counts which have begun and not ended.
type registrations map[string]int

func (r registrations) of(who, procedure string) func() func() {
	name := who + " " + procedure
	return func() func() {
		r[name]++
		return func() {
			if r[name]--; r[name] == 0 {
				delete(r, name)
			}
		}
	}
}

func anybody(*server.Peer) bool { return true }

// Each registration that is taken begins and ends once, in whatever order streams come and
// go: who connects again before its last stream has ended stays registered.
func TestBeginAndEnd(t *testing.T) {
	r, now := registry.New(10, 2), registrations{}
	first, second := serve(t, "192.0.2.1:1"), serve(t, "192.0.2.1:2")
	require.True(t, r.Add(first, "p", now.of("first", "p")))
	require.False(t, r.Add(first, "p", now.of("first", "p")), "it has")
	require.True(t, r.Add(first, "q", now.of("first", "q")))
	require.False(t, r.Add(first, "r", now.of("first", "r")), "a third of one stream")
	require.True(t, r.Add(second, "p", now.of("second", "p")))
	require.Same(t, second, r.Find("p", anybody), "the newest")
	r.End(first)
	r.End(first)
	require.Equal(t, registrations{"second p": 1}, now)
	require.Same(t, second, r.Find("p", anybody))
	require.Nil(t, r.Find("q", anybody))
	require.Equal(t, 1, r.Len())
	r.End(second)
	require.Empty(t, now)
	require.Zero(t, r.Len())
}

// Of too many the newest of who has most gives way, and ends; nobody else's does.
func TestTheHeaviestGivesWay(t *testing.T) {
	r, now := registry.New(4, 10), registrations{}
	flood, honest := serve(t, "192.0.2.1:1"), serve(t, "198.51.100.1:1")
	for i := range 6 {
		name := fmt.Sprint(i)
		require.Equal(t, i < 4, r.Add(flood, name, now.of("flood", name)))
	}
	require.True(t, r.Add(honest, "p", now.of("honest", "p")))
	require.Equal(t, registrations{"flood 0": 1, "flood 1": 1, "flood 2": 1, "honest p": 1}, now)
	require.Nil(t, r.Find("3", anybody))
	require.Same(t, honest, r.Find("p", anybody))
	require.False(t, r.Add(flood, "3", now.of("flood", "3")))
	r.End(flood)
	r.End(honest)
	require.Empty(t, now)
}

// A procedure is of the address that was the first to register it, until that has gone.
func TestWhoIsAsked(t *testing.T) {
	r, now := registry.New(10, 10), registrations{}
	first, stranger := serve(t, "192.0.2.1:1"), serve(t, "198.51.100.1:1")
	require.True(t, r.Add(first, "p", now.of("first", "p")))
	require.True(t, r.Add(stranger, "p", now.of("stranger", "p")))
	require.Same(t, first, r.Find("p", anybody))
	require.Nil(t, r.Find("p", func(p *server.Peer) bool { return p != first }))
	r.End(first)
	require.Same(t, stranger, r.Find("p", anybody))
}
