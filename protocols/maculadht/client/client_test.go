package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestClientSharesFewStreams(t *testing.T) {
	const callers, rounds = 200, 20
	server := dhttest.Host(t)
	h := newHandlers(t, server)
	opened := dhttest.Script(t, server, func(_ int, s *dhttest.Scripted) {
		serveStream(t, h, s.Stream)
	})
	client := newClient(t, dhttest.Host(t))
	ctx, to := dhttest.Context(t), dhttest.Contact(server)
	for i := range callers {
		key := fmt.Append(nil, i)
		store(h, key, dhttest.Value(string(key)))
	}
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			key := fmt.Append(nil, i)
			for range rounds {
				reply, err := FindValue(ctx, client, to, key)
				if err != nil || string(reply.Values[0]) != string(dhttest.Value(string(key))) {
					t.Errorf("caller %d: %v, %v", i, reply, err)
					return
				}
				if _, err := Ping(ctx, client, to); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, opened.Load(), int32(DefaultLimits().Streams))
	require.Equal(t, uint64(callers*rounds*2), h.Mux().Stats().Frames)
}

// What may wait for a disk goes on streams of its own.
func TestClientKeepsStoresApart(t *testing.T) {
	server := dhttest.Host(t)
	var stores, others atomic.Int32
	dhttest.Script(t, server, func(_ int, s *dhttest.Scripted) {
		first := s.Next()
		if call, ok := first.(*wire.Call); ok && call.Procedure == wire.ProcedureStore {
			stores.Add(1)
			s.Reply(&wire.Reply{CallID: call.CallID, Result: dhttest.StoreOK})
			for m := s.Next(); m != nil; m = s.Next() {
				if call, ok := m.(*wire.Call); !ok || call.Procedure != wire.ProcedureStore {
					t.Errorf("%s on a stream for _dht.store", m.Type())
				}
			}
			return
		}
		others.Add(1)
		s.Reply(&wire.Pong{Timestamp: first.(*wire.Ping).Timestamp})
		s.Answer()
	})
	client := newClient(t, dhttest.Host(t))
	ctx, to := dhttest.Context(t), dhttest.Contact(server)
	for range 2 {
		_, err := Ping(ctx, client, to)
		require.NoError(t, err)
		require.NoError(t, Put(ctx, client, to, procedures.StoreArgs{Key: []byte("k"), Value: dhttest.Value("p")}))
		_, err = client.Query(ctx, to, &wire.Call{Procedure: "other"})
		require.NoError(t, err)
		if stores.Load() == 1 {
			break
		}
	}
	require.Equal(t, int32(1), stores.Load())
	require.Equal(t, int32(1), others.Load())
}

// CONNECT may end its stream, so it has one of its own.
func TestClientConnectsApart(t *testing.T) {
	server, asker := dhttest.Host(t), dhttest.Host(t)
	serve(t, server)
	client := newClient(t, asker)
	ctx, to := dhttest.Context(t), dhttest.Contact(server)
	_, err := Ping(ctx, client, to)
	require.NoError(t, err)

	_, err = client.Query(ctx, to, &wire.Connect{NodeID: dhttest.NodeID(asker), RealmID: "elsewhere"})
	require.ErrorIs(t, err, proto.ErrRefused)
	require.ErrorContains(t, err, "realm_mismatch")
	pong, err := client.Query(ctx, to, &wire.Connect{NodeID: dhttest.NodeID(asker), RealmID: proto.DefaultRealm})
	require.NoError(t, err)
	require.Equal(t, dhttest.NodeID(server), pong.(*wire.Pong).NodeID)
	require.Equal(t, 1, lanesOf(client))
}

func TestClientSendsStores(t *testing.T) {
	server := dhttest.Host(t)
	s := serve(t, server)
	client := newClient(t, dhttest.Host(t))
	ctx, to := dhttest.Context(t), dhttest.Contact(server)
	for i := range 100 {
		require.NoError(t, client.Send(ctx, to, &wire.Store{Key: []byte("k"), Value: dhttest.Value(fmt.Sprint(i))}))
	}
	require.Eventually(t, func() bool { return s.Stats().Stored == 100 }, dhttest.Patience, time.Millisecond)
	values, err := s.LookupValue(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, dhttest.Value("99"), values[0], "one stream keeps their order")
}

// A result is the caller's: neither does the next reply overwrite it, nor does
// changing it change anything else.
func TestClientResultsOwnTheirMemory(t *testing.T) {
	server := dhttest.Host(t)
	s := serve(t, server)
	client := newClient(t, dhttest.Host(t))
	ctx, to := dhttest.Context(t), dhttest.Contact(server)
	store(s, []byte("a"), dhttest.Value("aaaa"))
	store(s, []byte("b"), dhttest.Value("bbbb"))

	first, err := FindValue(ctx, client, to, []byte("a"))
	require.NoError(t, err)
	second, err := FindValue(ctx, client, to, []byte("b"))
	require.NoError(t, err)
	require.Equal(t, dhttest.Value("aaaa"), first.Values[0])
	clear(first.Values[0])
	require.Equal(t, dhttest.Value("bbbb"), second.Values[0])
	third, err := FindValue(ctx, client, to, []byte("a"))
	require.NoError(t, err)
	require.Equal(t, dhttest.Value("aaaa"), third.Values[0])
}

// What a peer could only refuse is not sent, and does not disturb what is.
func TestClientRefusesInvalidRequests(t *testing.T) {
	server := dhttest.Host(t)
	s := serve(t, server)
	client := newClient(t, dhttest.Host(t))
	ctx, to := dhttest.Context(t), dhttest.Contact(server)
	_, err := Ping(ctx, client, to)
	require.NoError(t, err)
	long := make([]byte, wire.MaxField+1)
	query := func(m wire.Message) error { _, err := client.Query(ctx, to, m); return err }
	send := func(m wire.Message) error { return client.Send(ctx, to, m) }

	tests := []struct {
		name string
		ask  func(wire.Message) error
		m    wire.Message
	}{
		{"find_value without key", query, &wire.FindValue{}},
		{"find_value with too long a key", query, &wire.FindValue{Key: long}},
		{"find_node without target", query, &wire.FindNode{}},
		{"find_node with too long a target", query, &wire.FindNode{Target: long}},
		{"call without procedure", query, &wire.Call{}},
		{"call with too long a procedure", query, &wire.Call{Procedure: string(long)}},
		{"call with broken args", query, &wire.Call{Procedure: "p", Args: wire.Raw{0xc1}}},
		{"call with args of two values", query, &wire.Call{Procedure: "p", Args: wire.Raw{0x80, 0x80}}},
		{"call with too deep args", query, &wire.Call{Procedure: "p", Args: dhttest.DeepValue(wire.MaxDepth)}},
		{"call with too much", query, &wire.Call{Procedure: "p", Args: wire.RawText(strings.Repeat("x", wire.MaxPayload))}},
		{"connect without realm", query, dhttest.Fields(wire.TypeConnect, wire.Pair{Key: "node_id", Value: wire.RawText("n")})},
		{"a ping that is a list", query, &wire.Opaque{MessageType: wire.TypePing, Fields: wire.Raw{0x90}}},
		{"store without key", send, &wire.Store{Value: dhttest.Value("p")}},
		{"store with too long a key", send, &wire.Store{Key: long, Value: dhttest.Value("p")}},
		{"store without value", send, &wire.Store{Key: []byte("k")}},
		{"store of no map", send, &wire.Store{Key: []byte("k"), Value: wire.RawInt(1)}},
		{"store without life", send, &wire.Store{Key: []byte("k"), Value: dhttest.Value("p", wire.Pair{Key: "ttl", Value: wire.RawInt(0)})}},
		{"an unknown type", send, &wire.Opaque{MessageType: 0xee}},
		{"a query without reply", query, &wire.Store{Key: []byte("k"), Value: dhttest.Value("p")}},
		{"a send with reply", send, &wire.Ping{}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.ErrorIs(t, test.ask(test.m), proto.ErrInvalidRequest)
			_, err := Ping(ctx, client, to)
			require.NoError(t, err)
			require.Equal(t, uint64(i+2), s.Mux().Stats().Frames, "nothing but the PINGs was sent")
		})
	}
	require.Zero(t, s.Mux().Stats().Resets)
}

func TestClientErrors(t *testing.T) {
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer silent.Close()
	blackHole := ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", silent.LocalAddr().(*net.UDPAddr).Port))
	server, mute := dhttest.Host(t), dhttest.Host(t)
	s := serve(t, server)
	store(s, []byte("k"), dhttest.Value("p"))
	gone := dhttest.Contact(server)
	gone.Peer = dhttest.PeerID(t)

	tests := []struct {
		name string
		to   routing.Contact
		ask  func(context.Context, *Client, routing.Contact) error
		want []error
		text string
	}{
		{"no peer id", routing.Contact{Endpoint: "https://a:1"}, pingOnly, []error{proto.ErrUnreachable}, "no peer id"},
		{"no addresses", routing.Contact{Peer: dhttest.PeerID(t)}, pingOnly, []error{proto.ErrUnreachable}, "no addresses"},
		{"another peer at its address", gone, pingOnly, []error{proto.ErrUnreachable}, "peer id mismatch"},
		{"nobody answers in the caller's time", routing.Contact{Peer: dhttest.PeerID(t), Addrs: []ma.Multiaddr{blackHole}},
			func(ctx context.Context, c *Client, to routing.Contact) error {
				ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				return pingOnly(ctx, c, to)
			}, []error{proto.ErrUnreachable, context.DeadlineExceeded}, ""},
		{"does not speak the protocol", dhttest.Contact(mute), pingOnly, []error{proto.ErrRefused}, string(proto.ProtocolID)},
		{"does not speak it, asked to connect", dhttest.Contact(mute), func(ctx context.Context, c *Client, to routing.Contact) error {
			_, err := c.Query(ctx, to, &wire.Connect{NodeID: []byte("n"), RealmID: proto.DefaultRealm})
			return err
		}, []error{proto.ErrRefused}, string(proto.ProtocolID)},
		{"an error in the reply", dhttest.Contact(server), func(ctx context.Context, c *Client, to routing.Contact) error {
			_, err := c.Query(ctx, to, &wire.Call{Procedure: "p", CallID: []byte("c")})
			return err
		}, []error{proto.ErrRemote}, wire.CodeBootstrapOnly},
		{"the caller has gone before", dhttest.Contact(server), func(ctx context.Context, c *Client, to routing.Contact) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return pingOnly(ctx, c, to)
		}, []error{context.Canceled}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.ask(dhttest.Context(t), newClient(t, dhttest.Host(t)), test.to)
			for _, want := range test.want {
				require.ErrorIs(t, err, want)
			}
			require.ErrorContains(t, err, test.text)
		})
	}
}

func pingOnly(ctx context.Context, c *Client, to routing.Contact) error {
	_, err := Ping(ctx, c, to)
	return err
}
