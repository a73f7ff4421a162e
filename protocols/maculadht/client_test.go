package maculadht

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// script serves the protocol on h by hand: serve gets each stream, counted from
// 1, and the frames on it.
func script(t *testing.T, h host.Host, serve func(n int, s *scripted)) *atomic.Int32 {
	t.Helper()
	opened := new(atomic.Int32)
	h.SetStreamHandler(ProtocolID, func(s network.Stream) {
		serve(int(opened.Add(1)), &scripted{Stream: s, in: wire.NewReader(s)})
	})
	return opened
}

type scripted struct {
	network.Stream

	in *wire.Reader
}

// next returns the next message, nil at the end.
func (s *scripted) next() wire.Message {
	f, err := s.in.Next()
	if err != nil {
		return nil
	}
	f.Payload = append([]byte(nil), f.Payload...)
	m, _ := f.Decode()
	return m
}

func (s *scripted) reply(m wire.Message) {
	b, _ := wire.AppendFrame(nil, m)
	s.Write(b)
}

// resetBy waits for the client to reset the stream and returns its code.
func (s *scripted) resetBy() (ResetCode, error) {
	for {
		if _, err := s.in.Next(); err != nil {
			reset, ok := err.(*network.StreamError)
			if !ok || !reset.Remote {
				return 0, fmt.Errorf("not reset by the client: %w", err)
			}
			return ResetCode(reset.ErrorCode), nil
		}
	}
}

// answer serves a stream as a peer would that has nothing stored.
func (s *scripted) answer() {
	for m := s.next(); m != nil; m = s.next() {
		switch m := m.(type) {
		case *wire.Ping:
			s.reply(&wire.Pong{Timestamp: m.Timestamp})
		case *wire.FindValue:
			s.reply(&wire.FindValueReply{})
		case *wire.FindNode:
			s.reply(&wire.FindNodeReply{})
		case *wire.Call:
			s.reply(&wire.Reply{CallID: m.CallID, Result: storeOK})
		}
	}
	s.Close()
}

func TestClientSharesFewStreams(t *testing.T) {
	const callers, rounds = 200, 20
	server := newHost(t)
	h := newHandlers(t)
	opened := script(t, server, func(_ int, s *scripted) {
		h.Serve(t.Context(), hostStream{s.Stream}, &Session{Dialect: LibP2P()})
	})
	client := newClient(t, newHost(t))
	ctx, to := testContext(t), contactTo(server)
	for i := range callers {
		key := fmt.Append(nil, i)
		h.HandleStore(&wire.Store{Key: key, Value: valueOf(string(key))}, Origin{}, Dialect{})
	}
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			key := fmt.Append(nil, i)
			for range rounds {
				reply, err := FindValue(ctx, client, to, key)
				if err != nil || string(reply.Values[0]) != string(valueOf(string(key))) {
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
	require.LessOrEqual(t, opened.Load(), int32(DefaultStreams))
	require.Equal(t, uint64(callers*rounds*2), h.Stats().Frames)
}

// What may wait for a disk goes on streams of its own.
func TestClientKeepsStoresApart(t *testing.T) {
	server := newHost(t)
	var stores, others atomic.Int32
	script(t, server, func(_ int, s *scripted) {
		first := s.next()
		if call, ok := first.(*wire.Call); ok && call.Procedure == wire.ProcedureStore {
			stores.Add(1)
			s.reply(&wire.Reply{CallID: call.CallID, Result: storeOK})
			for m := s.next(); m != nil; m = s.next() {
				if call, ok := m.(*wire.Call); !ok || call.Procedure != wire.ProcedureStore {
					t.Errorf("%s on a stream for _dht.store", m.Type())
				}
			}
			return
		}
		others.Add(1)
		s.reply(&wire.Pong{Timestamp: first.(*wire.Ping).Timestamp})
		s.answer()
	})
	client := newClient(t, newHost(t))
	ctx, to := testContext(t), contactTo(server)
	for range 2 {
		_, err := Ping(ctx, client, to)
		require.NoError(t, err)
		require.NoError(t, Put(ctx, client, to, wire.StoreArgs{Key: []byte("k"), Value: valueOf("p")}))
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
	server, asker := newHost(t), newHost(t)
	newService(t, server)
	client := newClient(t, asker)
	ctx, to := testContext(t), contactTo(server)
	_, err := Ping(ctx, client, to)
	require.NoError(t, err)

	_, err = client.Query(ctx, to, &wire.Connect{NodeID: nodeIDOf(asker), RealmID: "elsewhere"})
	require.ErrorIs(t, err, routing.ErrRefused)
	require.ErrorContains(t, err, "realm_mismatch")
	pong, err := client.Query(ctx, to, &wire.Connect{NodeID: nodeIDOf(asker), RealmID: DefaultRealm})
	require.NoError(t, err)
	require.Equal(t, nodeIDOf(server), pong.(*wire.Pong).NodeID)
	require.Equal(t, 1, lanesOf(client))
}

func TestClientSendsStores(t *testing.T) {
	server := newHost(t)
	s := newService(t, server)
	client := newClient(t, newHost(t))
	ctx, to := testContext(t), contactTo(server)
	for i := range 100 {
		require.NoError(t, client.Send(ctx, to, &wire.Store{Key: []byte("k"), Value: valueOf(fmt.Sprint(i))}))
	}
	require.Eventually(t, func() bool { return s.Stats().Stored == 100 }, patience, time.Millisecond)
	values, err := s.LookupValue([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, valueOf("99"), values[0], "one stream keeps their order")
}

// A result is the caller's: neither does the next reply overwrite it, nor does
// changing it change anything else.
func TestClientResultsOwnTheirMemory(t *testing.T) {
	server := newHost(t)
	s := newService(t, server)
	client := newClient(t, newHost(t))
	ctx, to := testContext(t), contactTo(server)
	s.HandleStore(&wire.Store{Key: []byte("a"), Value: valueOf("aaaa")}, Origin{}, Dialect{})
	s.HandleStore(&wire.Store{Key: []byte("b"), Value: valueOf("bbbb")}, Origin{}, Dialect{})

	first, err := FindValue(ctx, client, to, []byte("a"))
	require.NoError(t, err)
	second, err := FindValue(ctx, client, to, []byte("b"))
	require.NoError(t, err)
	require.Equal(t, valueOf("aaaa"), first.Values[0])
	clear(first.Values[0])
	require.Equal(t, valueOf("bbbb"), second.Values[0])
	third, err := FindValue(ctx, client, to, []byte("a"))
	require.NoError(t, err)
	require.Equal(t, valueOf("aaaa"), third.Values[0])
}

// What a peer could only refuse is not sent, and does not disturb what is.
func TestClientRefusesInvalidRequests(t *testing.T) {
	server := newHost(t)
	s := newService(t, server)
	client := newClient(t, newHost(t))
	ctx, to := testContext(t), contactTo(server)
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
		{"call with too deep args", query, &wire.Call{Procedure: "p", Args: deepValue(wire.MaxDepth)}},
		{"call with too much", query, &wire.Call{Procedure: "p", Args: wire.RawText(strings.Repeat("x", wire.MaxPayload))}},
		{"connect without realm", query, fieldsOf(wire.TypeConnect, wire.Pair{Key: "node_id", Value: wire.RawText("n")})},
		{"a ping that is a list", query, &wire.Opaque{MessageType: wire.TypePing, Fields: wire.Raw{0x90}}},
		{"store without key", send, &wire.Store{Value: valueOf("p")}},
		{"store with too long a key", send, &wire.Store{Key: long, Value: valueOf("p")}},
		{"store without value", send, &wire.Store{Key: []byte("k")}},
		{"store of no map", send, &wire.Store{Key: []byte("k"), Value: wire.RawInt(1)}},
		{"store without life", send, &wire.Store{Key: []byte("k"), Value: valueOf("p", wire.Pair{Key: "ttl", Value: wire.RawInt(0)})}},
		{"an unknown type", send, &wire.Opaque{MessageType: 0xee}},
		{"a query without reply", query, &wire.Store{Key: []byte("k"), Value: valueOf("p")}},
		{"a send with reply", send, &wire.Ping{}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.ErrorIs(t, test.ask(test.m), ErrInvalidRequest)
			_, err := Ping(ctx, client, to)
			require.NoError(t, err)
			require.Equal(t, uint64(i+2), s.Stats().Frames, "nothing but the PINGs was sent")
		})
	}
	require.Zero(t, s.Stats().Resets)
}

func TestClientErrors(t *testing.T) {
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer silent.Close()
	blackHole := ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", silent.LocalAddr().(*net.UDPAddr).Port))
	server, mute := newHost(t), newHost(t)
	s := newService(t, server)
	s.HandleStore(&wire.Store{Key: []byte("k"), Value: valueOf("p")}, Origin{}, Dialect{})
	gone := contactTo(server)
	gone.Peer = newPeer(t)

	tests := []struct {
		name string
		to   routing.Contact
		ask  func(context.Context, *Client, routing.Contact) error
		want []error
		text string
	}{
		{"no peer id", routing.Contact{Endpoint: "https://a:1"}, pingOnly, []error{routing.ErrUnreachable}, "no peer id"},
		{"no addresses", routing.Contact{Peer: newPeer(t)}, pingOnly, []error{routing.ErrUnreachable}, "no addresses"},
		{"another peer at its address", gone, pingOnly, []error{routing.ErrUnreachable}, "peer id mismatch"},
		{"nobody answers in the caller's time", routing.Contact{Peer: newPeer(t), Addrs: []ma.Multiaddr{blackHole}},
			func(ctx context.Context, c *Client, to routing.Contact) error {
				ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				return pingOnly(ctx, c, to)
			}, []error{routing.ErrUnreachable, context.DeadlineExceeded}, ""},
		{"does not speak the protocol", contactTo(mute), pingOnly, []error{routing.ErrRefused}, string(ProtocolID)},
		{"does not speak it, asked to connect", contactTo(mute), func(ctx context.Context, c *Client, to routing.Contact) error {
			_, err := c.Query(ctx, to, &wire.Connect{NodeID: []byte("n"), RealmID: DefaultRealm})
			return err
		}, []error{routing.ErrRefused}, string(ProtocolID)},
		{"an error in the reply", contactTo(server), func(ctx context.Context, c *Client, to routing.Contact) error {
			_, err := c.Query(ctx, to, &wire.Call{Procedure: "p", CallID: []byte("c")})
			return err
		}, []error{routing.ErrRemote}, wire.CodeBootstrapOnly},
		{"the caller has gone before", contactTo(server), func(ctx context.Context, c *Client, to routing.Contact) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return pingOnly(ctx, c, to)
		}, []error{context.Canceled}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.ask(testContext(t), newClient(t, newHost(t)), test.to)
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
