package dht

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht/offer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func TestHandleQuery(t *testing.T) {
	h := newHandlers(t)
	p := dhttest.PeerID(t)
	id := routing.IDFromPeer(p)
	require.NoError(t, h.Routing().Admit(routing.Contact{ID: id, NodeID: id[:], Peer: p, Verified: true}))
	node := wire.Node{ID: id[:], Addrs: addressing.EncodePeerAddrs(p, nil)}
	store := &wire.Store{Key: []byte("k"), Value: dhttest.Value("p")}

	tests := []struct {
		name string
		ask  wire.Message
		want wire.Message
	}{
		{"find_node", &wire.FindNode{Target: []byte("x")}, &wire.FindNodeReply{Nodes: []wire.Node{node}}},
		{"find_value miss", &wire.FindValue{Key: []byte("k")}, &wire.FindValueReply{Nodes: []wire.Node{node}}},
		{"store", store, storedHere},
		{"find_value hit", &wire.FindValue{Key: []byte("k")},
			&wire.FindValueReply{Values: []wire.Raw{dhttest.Value("p")}, ExpiresIn: []int64{86_399}}},
		{"ping", &wire.Ping{}, &wire.Reply{Error: &wire.CallError{Message: "Unknown DHT message type"}}},
		{"call", &wire.Call{Procedure: "p"}, &wire.Reply{Error: &wire.CallError{Message: "Unknown DHT message type"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := h.HandleQuery(t.Context(), dhttest.Frames(t, test.ask))
			require.NoError(t, err)
			f, rest, err := framing.DecodeFrame(out)
			require.NoError(t, err)
			require.Empty(t, rest)
			if test.want == storedHere {
				require.Equal(t, wire.TypeStore, f.Type)
				require.Equal(t, storedHere.Fields, wire.Raw(f.Payload))
				return
			}
			got, err := f.Decode()
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestHandleQueryErrors(t *testing.T) {
	h := newHandlers(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name  string
		ctx   context.Context
		frame []byte
		want  error
	}{
		{"no frame", t.Context(), nil, framing.ErrShortHeader},
		{"bad version", t.Context(), []byte{2, 3, 0, 0, 0, 0, 0, 0}, framing.ErrVersion},
		{"cut short", t.Context(), dhttest.Frame(wire.TypePing, 0x80)[:8], framing.ErrTruncated},
		{"two frames", t.Context(), append(dhttest.Frame(wire.TypePing, 0x80), 1), wire.ErrMsgpack},
		{"no map", t.Context(), dhttest.Frame(wire.TypePing, 0x90), wire.ErrNotMap},
		{"no key", t.Context(), dhttest.Frame(wire.TypeFindValue, 0x80), wire.ErrMissingField},
		{"no target", t.Context(), dhttest.Frame(wire.TypeFindNode, 0x80), wire.ErrMissingField},
		{"a value that can not be stored", t.Context(), dhttest.Frames(t, &wire.Store{Key: []byte("k"), Value: wire.RawInt(1)}), values.ErrBad},
		{"ctx has ended", cancelled, dhttest.Frames(t, &wire.Ping{}), context.Canceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := h.HandleQuery(test.ctx, test.frame)
			require.ErrorIs(t, err, test.want)
			require.Nil(t, out)
		})
	}
}

func TestLookupValueIsNeverEmpty(t *testing.T) {
	h := newHandlers(t)
	values, err := h.LookupValue(t.Context(), []byte("k"))
	require.ErrorIs(t, err, records.ErrNotFound)
	require.Nil(t, values)

	h.HandleStore(context.Background(), &wire.Store{Key: []byte("k"), Value: dhttest.Value("a")}, Origin{}, server.LibP2P())
	h.HandleStore(context.Background(), &wire.Store{Key: []byte("k"), Value: dhttest.Value("b")}, Origin{}, server.LibP2P())
	h.HandleStore(context.Background(), &wire.Store{Key: []byte("k"), Value: wire.RawInt(1)}, Origin{}, server.LibP2P())
	values, err = h.LookupValue(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, []wire.Raw{dhttest.Value("b"), dhttest.Value("a")}, values)
	require.Equal(t, Stats{Stored: 2, DroppedStores: 1}, h.Stats())
}

// What is stored does not share the memory of the message, which is the
// stream's.
func TestHandleStoreCopies(t *testing.T) {
	h := newHandlers(t)
	m := &wire.Store{Key: []byte("key"), Value: dhttest.Value("provider")}
	h.HandleStore(context.Background(), m, Origin{}, server.Dialect{})
	clear(m.Key)
	clear(m.Value)
	values, err := h.LookupValue(t.Context(), []byte("key"))
	require.NoError(t, err)
	require.Equal(t, []wire.Raw{dhttest.Value("provider")}, values)
}

func TestHandleFindValueDialects(t *testing.T) {
	h := newHandlers(t)
	p := dhttest.PeerID(t)
	id := routing.IDFromPeer(p)
	require.NoError(t, h.Routing().Admit(routing.Contact{ID: id, NodeID: id[:], Peer: p, Verified: true, LastSeen: time.UnixMilli(5)}))
	h.HandleStore(context.Background(), &wire.Store{Key: []byte("k"), Value: dhttest.Value("a")}, Origin{}, server.Dialect{})

	require.Equal(t, &wire.FindValueReply{Values: []wire.Raw{dhttest.Value("a")}},
		h.HandleFindValue(context.Background(), &wire.FindValue{Key: []byte("k")}, server.Dialect{}, proto.MaxFindValueReply))
	require.Empty(t, h.HandleFindValue(context.Background(), &wire.FindValue{Key: []byte("x")}, server.Dialect{}, proto.MaxFindValueReply).Nodes)
	require.Equal(t, []wire.Node{{ID: id[:], LastSeen: 5, Addrs: addressing.EncodePeerAddrs(p, nil)}},
		h.HandleFindValue(context.Background(), &wire.FindValue{Key: []byte("x")}, server.LibP2P(), proto.MaxFindValueReply).Nodes)
	require.Equal(t, []wire.Node{{ID: id[:], LastSeen: 5}},
		h.HandleFindNode(&wire.FindNode{Target: []byte("x")}, server.Dialect{}).Nodes)
}

type publisher func(*wire.Publish) error

func (p publisher) Publish(_ context.Context, m *wire.Publish) error { return p(m) }

func TestForwardPublishToBootstrap(t *testing.T) {
	m := &wire.Publish{Topic: "t"}
	require.ErrorIs(t, newHandlers(t).ForwardPublishToBootstrap(t.Context(), m), proto.ErrNoConnection)

	var published *wire.Publish
	h := newHandlers(t, WithBootstrap(publisher(func(m *wire.Publish) error {
		published = m
		return nil
	})))
	require.NoError(t, h.ForwardPublishToBootstrap(t.Context(), m))
	require.Same(t, m, published)

	away := newHandlers(t, WithBootstrap(publisher(func(*wire.Publish) error { return proto.ErrNoConnection })))
	require.ErrorIs(t, away.ForwardPublishToBootstrap(t.Context(), m), proto.ErrNoConnection)
}

// fakeNetwork notes whom it is asked to reach.
type fakeNetwork struct {
	to    routing.Contact
	sent  wire.Message
	reply wire.Message
	err   error
}

func (n *fakeNetwork) Send(_ context.Context, to routing.Contact, m wire.Message) error {
	n.to, n.sent = to, m
	return n.err
}

func (n *fakeNetwork) Query(_ context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	n.to, n.sent = to, m
	return n.reply, n.err
}

func TestSendToPeerAndQueryPeer(t *testing.T) {
	p := dhttest.PeerID(t)
	byNode := routing.IDFromBytes([]byte("node"))
	tests := []struct {
		name string
		to   NodeInfo
		want routing.Contact
		err  error
	}{
		{"nothing", NodeInfo{NodeID: []byte("node")}, routing.Contact{}, proto.ErrNoEndpoint},
		{"endpoint", NodeInfo{NodeID: []byte("node"), Endpoint: "https://a:1"},
			routing.Contact{ID: byNode, NodeID: []byte("node"), Endpoint: "https://a:1"}, nil},
		{"endpoint before address", NodeInfo{NodeID: []byte("node"), Endpoint: "https://a:1", Address: "https://b:2"},
			routing.Contact{ID: byNode, NodeID: []byte("node"), Endpoint: "https://a:1"}, nil},
		{"address", NodeInfo{NodeID: []byte("node"), Address: "https://b:2"},
			routing.Contact{ID: byNode, NodeID: []byte("node"), Endpoint: "https://b:2"}, nil},
		{"address without scheme", NodeInfo{NodeID: []byte("node"), Address: "b:2"},
			routing.Contact{ID: byNode, NodeID: []byte("node"), Endpoint: "https://b:2"}, nil},
		{"peer id", NodeInfo{Peer: p}, routing.Contact{ID: routing.IDFromPeer(p), Peer: p}, nil},
		{"peer id before endpoint", NodeInfo{Peer: p, Endpoint: "https://a:1"},
			routing.Contact{ID: routing.IDFromPeer(p), Peer: p, Endpoint: "https://a:1"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := &fakeNetwork{reply: &wire.Pong{}}
			h := newHandlers(t, WithNetwork(n))
			ping := &wire.Ping{}

			err := h.SendToPeer(t.Context(), test.to, ping)
			require.ErrorIs(t, err, test.err)
			if test.err == nil {
				require.Equal(t, test.want, n.to)
				require.Same(t, ping, n.sent)
			}

			*n = fakeNetwork{reply: &wire.Pong{}}
			reply, err := h.QueryPeer(t.Context(), test.to, ping)
			require.ErrorIs(t, err, test.err)
			if test.err == nil {
				require.Equal(t, test.want, n.to)
				require.Same(t, n.reply, reply)
			}
		})
	}

	to := NodeInfo{Peer: p}
	require.ErrorIs(t, newHandlers(t).SendToPeer(t.Context(), to, &wire.Ping{}), proto.ErrNoNetwork)
	broken := errors.New("broken")
	h := newHandlers(t, WithNetwork(&fakeNetwork{err: broken}))
	require.ErrorIs(t, h.SendToPeer(t.Context(), to, &wire.Ping{}), broken)
	_, err := h.QueryPeer(t.Context(), to, &wire.Ping{})
	require.ErrorIs(t, err, broken)
}

func TestHandleQueryOfNoQuestion(t *testing.T) {
	h := newHandlers(t)
	for name, ask := range map[string][]byte{
		"a type that nobody knows": dhttest.Frame(0xee, 0x80),
		"a CALL without procedure": dhttest.Frame(wire.TypeCall, 0x80),
	} {
		t.Run(name, func(t *testing.T) {
			out, err := h.HandleQuery(t.Context(), ask)
			require.NoError(t, err)
			f, _, err := framing.DecodeFrame(out)
			require.NoError(t, err)
			reply, err := f.Decode()
			require.NoError(t, err)
			require.Equal(t, &wire.Reply{Error: &wire.CallError{Message: "Unknown DHT message type"}}, reply)
		})
	}
}

// A contact's addresses are shared by all who answer with them.
func TestEncodeAddrsWritesToNoAddress(t *testing.T) {
	p := dhttest.Host(t).ID()
	roomy := append(make(ma.Multiaddr, 0, 8), ma.StringCast("/ip4/127.0.0.1/udp/9443/quic-v1")...)
	behind := roomy[:cap(roomy)]
	first := addressing.EncodePeerAddrs(p, []ma.Multiaddr{roomy})
	require.Equal(t, ma.StringCast("/ip4/127.0.0.1/udp/9443/quic-v1/p2p/"+p.String()).Bytes(), first[0])
	require.Equal(t, ma.Component{}, behind[len(roomy)], "nothing is written behind it")
}

// Whoever stores by _dht.store is told why a value was not kept.
func TestStoreError(t *testing.T) {
	tests := map[string]struct {
		err  error
		code string
	}{
		"of another":     {records.ErrNotOwner, wire.CodeNotOwner},
		"source is full": {records.ErrSourceBudget, wire.CodeBusy},
		"group is full":  {records.ErrGroupBudget, wire.CodeBusy},
		"store is full":  {records.ErrStoreFull, wire.CodeBusy},
		"key is far":     {records.ErrFar, wire.CodeBusy},
		"key is full":    {records.ErrKeyFull, wire.CodeKeyFull},
		"no life left":   {records.ErrExpired, wire.CodeInvalidArgs},
		"disk fails":     {records.ErrStoreFailed, wire.CodeStoreFailed},
		"disk hangs":     {offer.ErrUnsettled, wire.CodeStoreFailed},
		"disk is busy":   {context.DeadlineExceeded, wire.CodeBusy},
		"no value":       {values.ErrBad, wire.CodeInvalidArgs},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.code, offer.Refusal(fmt.Errorf("store: %w", tt.err)).Code)
		})
	}
}

// A type has one handler.
func TestNewOnce(t *testing.T) {
	h := newHandlers(t)
	_, err := New(h.Mux(), h.Routing())
	require.ErrorIs(t, err, server.ErrHandled)
}
