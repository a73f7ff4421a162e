package dht

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/servertest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// noDeadlines is a connection without deadlines: those of net.Pipe allocate.
type noDeadlines struct{ net.Conn }

func (noDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

// holder is a network of which every contact has a value of one more provider.
type holder struct{ routingtest.Silent }

func (holder) Query(context.Context, routing.Contact, wire.Message) (wire.Message, error) {
	return &wire.FindValueReply{Values: []wire.Raw{dhttest.Value(servertest.ErlangID("elsewhere"))}}, nil
}

// resolving has the rig's handlers look up what others have.
func (r *rig) resolving(n routing.Network, opts ...resolver.Option) *resolver.Resolver {
	r.T.Helper()
	l, err := lookup.New(r.handlers.routes, n, lookup.WithQuorum(2))
	require.NoError(r.T, err)
	v, err := resolver.New(l, opts...)
	require.NoError(r.T, err)
	r.T.Cleanup(v.Close)
	require.NoError(r.T, WithResolver(v)(&r.handlers.cfg))
	return v
}

// A FIND_VALUE that hits is nearly all of the traffic: answering it allocates
// nothing, also where others have more than this node.
func TestFindValueAllocatesNothing(t *testing.T) {
	tests := map[string]struct {
		dialect   server.Dialect
		resolving routing.Network // nil for none
		values    int
		proved    bool
	}{
		"libp2p":                          {server.LibP2P(), nil, 1, false},
		"libp2p, proved":                  {server.LibP2P(), nil, 1, true},
		"macula":                          {server.Erlang(), nil, 1, false},
		"macula, nobody else to ask":      {server.Erlang(), routingtest.Silent{}, 1, false},
		"macula, others have another one": {server.Erlang(), holder{}, 2, false},
		"libp2p, others are not asked":    {server.LibP2P(), holder{}, 1, false},
	}
	for name, tt := range tests {
		d := tt.dialect
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if tt.resolving != nil {
				v := r.resolving(tt.resolving)
				if tt.values > 1 {
					require.NoError(t, r.handlers.routes.Admit(routingtest.Peer(1)))
				}
				require.True(t, v.Resolve([]byte("k"), records.Asker{}, nil))
				require.Eventually(t, func() bool { return v.Stats().UnderWay == 0 }, 10*time.Second, time.Millisecond)
			}
			r.Wrap = func(c net.Conn) net.Conn { return noDeadlines{c} }
			h := r.handlers
			store := &wire.Store{Key: []byte("k"), Value: dhttest.Value(servertest.ErlangID("p"))}
			if tt.proved {
				p := newProvider(t)
				store.Value = p.value("endpoint")
				store.Proof = p.seal(t, store.Key, store.Value, time.Now())
				gone := newProvider(t)
				h.HandleStore(t.Context(), &wire.Store{Key: store.Key, Proof: gone.seal(t, store.Key, nil, time.Now())}, Origin{}, d)
			}
			h.HandleStore(t.Context(), store, Origin{}, d)
			p := r.Serve(d)
			ask := dhttest.Frames(t, &wire.FindValue{Key: []byte("k")})
			p.Send(ask)
			answer := make([]byte, 4096)
			n, err := p.Read(answer)
			require.NoError(t, err)
			require.Equal(t, tt.values, bytes.Count(answer[:n], []byte("node_id")))
			allocated := testing.AllocsPerRun(2000, func() {
				if _, err := p.Write(ask); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(p, answer[:n]); err != nil {
					t.Error(err)
				}
			})
			require.Zero(t, allocated)
			require.EqualValues(t, 2002, h.Stats().Hits)
			p.RequireEnd()
		})
	}
}
