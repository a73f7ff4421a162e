package maculadht

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// erlangID is a node id that Erlang nodes survive.
const erlangID = "0123456789abcdef0123456789abcdef"

// pipe is a stream in memory.
type pipe struct{ net.Conn }

func (p pipe) Reset(proto.ResetCode) { p.Close() }

// erlangAsks has a service serve a stream of an Erlang node, and returns the reply to
// the last of some messages, nil where it has none.
func erlangAsks(t *testing.T, s *Service, messages ...wire.Message) wire.Message {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- s.Handlers().Mux().Serve(t.Context(), pipe{ours}, &server.Session{Dialect: server.Erlang()})
	}()
	defer func() { <-served }()
	defer theirs.Close()
	require.NoError(t, theirs.SetDeadline(time.Now().Add(dhttest.Patience)))
	_, err := theirs.Write(dhttest.Frames(t, messages...))
	require.NoError(t, err)
	if _, answered := messages[len(messages)-1].Type().Reply(); !answered {
		return nil
	}
	f, err := framing.NewReader(theirs).Next()
	require.NoError(t, err)
	m, err := f.Decode()
	require.NoError(t, err)
	return m
}

// What Erlang nodes store at a service is replicated, and what they ask for is looked
// up, whatever its mode; what libp2p peers store is kept, and no more.
func TestTheServiceActsForErlangNodes(t *testing.T) {
	args := func(key string) procedures.StoreArgs {
		return procedures.StoreArgs{Key: []byte(key), Value: dhttest.Value(erlangID)}
	}
	tests := map[string]struct {
		opts    []Option
		store   func(t *testing.T, s *Service, key string)
		adopted bool
	}{
		"STORE of an Erlang node": {nil, func(t *testing.T, s *Service, key string) {
			erlangAsks(t, s, &wire.Store{Key: []byte(key), Value: dhttest.Value(erlangID)})
		}, true},
		"_dht.store of an Erlang node": {nil, func(t *testing.T, s *Service, key string) {
			a := args(key)
			erlangAsks(t, s, &wire.Call{Procedure: wire.ProcedureStore, Args: a.Raw(), CallID: []byte{1}})
		}, true},
		"in client mode": {[]Option{WithMode(ModeClient)}, func(t *testing.T, s *Service, key string) {
			erlangAsks(t, s, &wire.Store{Key: []byte(key), Value: dhttest.Value(erlangID)})
		}, true},
		"STORE of a libp2p peer": {nil, func(t *testing.T, s *Service, key string) {
			c := newClient(t, dhttest.Host(t))
			require.NoError(t, c.Send(dhttest.Context(t), dhttest.Contact(s.host), &wire.Store{Key: []byte(key), Value: dhttest.Value(erlangID)}))
			eventually(t, func() bool { _, err := s.Handlers().LookupValue(context.Background(), []byte(key)); return err == nil }, "it is stored")
		}, false},
		"_dht.store of a libp2p peer": {nil, func(t *testing.T, s *Service, key string) {
			require.NoError(t, client.Put(dhttest.Context(t), newClient(t, dhttest.Host(t)), dhttest.Contact(s.host), args(key)))
		}, false},
		"without proxy": {[]Option{WithoutProxy()}, func(t *testing.T, s *Service, key string) {
			erlangAsks(t, s, &wire.Store{Key: []byte(key), Value: dhttest.Value(erlangID)})
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			other := newService(t, dhttest.Host(t))
			s := newService(t, dhttest.Host(t), tt.opts...)
			dhttest.Connect(t, s.host, other.host)
			eventually(t, knows(s, other.host), "admitted")
			elsewhere := func(key string) bool {
				_, err := other.Handlers().LookupValue(context.Background(), []byte(key))
				return err == nil
			}
			tt.store(t, s, name)
			if tt.adopted {
				eventually(t, func() bool { return elsewhere(name) }, "it is replicated")
			} else {
				require.Never(t, func() bool { return elsewhere(name) }, 200*time.Millisecond, 20*time.Millisecond)
			}

			there := records.Put{Key: []byte("there"), Value: dhttest.Value(erlangID), NodeID: []byte(erlangID), TTL: time.Minute}
			require.NoError(t, other.Routing().Records().Store(t.Context(), there))
			reply := erlangAsks(t, s, &wire.FindValue{Key: []byte("there")}).(*wire.FindValueReply)
			require.Equal(t, name != "without proxy", len(reply.Values) == 1)
		})
	}
}

func TestProxyOptions(t *testing.T) {
	limits := resolver.DefaultLimits()
	limits.Wait = time.Millisecond
	newService(t, dhttest.Host(t), WithResolver(resolver.WithLimits(limits)), WithAdopter(replication.WithLimits(replication.DefaultLimits())))
	for _, opt := range []Option{WithResolver(nil), WithAdopter(nil), WithResolver(resolver.WithLimits(resolver.Limits{}))} {
		_, err := New(dhttest.Host(t), opt)
		require.Error(t, err)
	}
}
