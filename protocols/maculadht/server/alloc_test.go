package server

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
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// noDeadlines is a connection without deadlines: those of net.Pipe allocate.
type noDeadlines struct{ net.Conn }

func (noDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

// holder is a network of which every contact has a value of one more provider.
type holder struct{ routingtest.Silent }

func (holder) Query(context.Context, routing.Contact, wire.Message) (wire.Message, error) {
	return &wire.FindValueReply{Values: []wire.Raw{dhttest.Value(erlangID("elsewhere"))}}, nil
}

// resolving has the rig's handlers look up what others have.
func (r *rig) resolving(n routing.Network, opts ...resolver.Option) *resolver.Resolver {
	r.t.Helper()
	l, err := lookup.New(r.handlers.server, n, lookup.WithQuorum(2))
	require.NoError(r.t, err)
	v, err := resolver.New(l, opts...)
	require.NoError(r.t, err)
	r.t.Cleanup(v.Close)
	require.NoError(r.t, WithResolver(v)(&r.handlers.cfg))
	return v
}

// A FIND_VALUE that hits is nearly all of the traffic: answering it allocates
// nothing, also where others have more than this node.
func TestFindValueAllocatesNothing(t *testing.T) {
	tests := map[string]struct {
		dialect   Dialect
		resolving routing.Network // nil for none
		values    int
	}{
		"libp2p":                          {LibP2P(), nil, 1},
		"macula":                          {Erlang(), nil, 1},
		"macula, nobody else to ask":      {Erlang(), routingtest.Silent{}, 1},
		"macula, others have another one": {Erlang(), holder{}, 2},
		"libp2p, others are not asked":    {LibP2P(), holder{}, 1},
	}
	for name, tt := range tests {
		d := tt.dialect
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if tt.resolving != nil {
				v := r.resolving(tt.resolving)
				if tt.values > 1 {
					require.NoError(t, r.handlers.server.Admit(routingtest.Peer(1)))
				}
				require.True(t, v.Resolve([]byte("k"), records.Asker{}, nil))
				require.Eventually(t, func() bool { return v.Stats().UnderWay == 0 }, 10*time.Second, time.Millisecond)
			}
			r.wrap = func(c net.Conn) net.Conn { return noDeadlines{c} }
			h := r.handlers
			h.HandleStore(t.Context(), &wire.Store{Key: []byte("k"), Value: dhttest.Value(erlangID("p"))}, Origin{}, d)
			p := r.serve(d)
			ask := dhttest.Frames(t, &wire.FindValue{Key: []byte("k")})
			p.write(ask)
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
			p.requireEnd()
		})
	}
}
