package maculadht

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// What is wrong with a value is told to a caller of _dht.store, and counted
// where it came by STORE.
func TestStoreRefusesValues(t *testing.T) {
	big := wire.RawMap(wire.Pair{Key: "x", Value: wire.RawText(strings.Repeat("x", values.MaxSize))})
	grows := wire.Raw{0x81, 0xc4, 1, 'x', 0xdd, 0, 0, 0xc0, 0} // 48 k empty str, each one byte longer as bin
	grows = append(grows, make([]byte, 0xc000)...)
	for i := range grows[9:] {
		grows[9+i] = 0xa0
	}
	ttl := func(v wire.Raw) wire.Raw { return dhttest.Value("p", wire.Pair{Key: "ttl", Value: v}) }
	field := func(name string, v wire.Raw) wire.Raw { return wire.RawMap(wire.Pair{Key: name, Value: v}) }
	long := wire.RawText(strings.Repeat("x", wire.MaxField+1))

	tests := []struct {
		name  string
		value wire.Raw
		fault string // what the message names
	}{
		{"a list", wire.RawArray(), "instead of a map"},
		{"a text", wire.RawText("v"), "instead of a map"},
		{"nil", wire.Raw{0xc0}, "instead of a map"},
		{"too long", big, "limit 65536"},
		{"too long once its str are bin", grows, "limit 65536"},
		{"an ext type", field("x", wire.Raw{0xd4, 1, 1}), "ext"},
		{"a str that is not UTF-8", field("x", wire.Raw{0xa1, 0xff}), "UTF-8"},
		{"node_id is an integer", field("node_id", wire.RawInt(1)), "node_id"},
		{"node_id is nil", field("node_id", wire.Raw{0xc0}), "node_id"},
		{"node_id is too long", field("node_id", long), "node_id"},
		{"endpoint is a list", field("endpoint", wire.RawArray()), "endpoint"},
		{"endpoint is too long", field("endpoint", long), "endpoint"},
		{"ttl 0", ttl(wire.RawInt(0)), "ttl"},
		{"ttl -1", ttl(wire.RawInt(-1)), "ttl"},
		{"ttl is a text", ttl(wire.RawText("60")), "ttl"},
		{"ttl is a fraction", ttl(msgp.AppendFloat64(nil, 60.5)), "ttl"},
	}
	srv := dhttest.Host(t)
	s := newService(t, srv)
	stream := dhttest.Open(t, dhttest.Host(t), srv)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := s.Handlers().Stats().DroppedStores
			args := procedures.StoreArgs{Key: []byte("k"), Value: test.value}
			reply := stream.Ask(&wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw()}).(*wire.Reply)
			require.NotNil(t, reply.Error)
			require.Equal(t, wire.CodeInvalidArgs, reply.Error.Code)
			require.Contains(t, reply.Error.Message, "value")
			require.Contains(t, reply.Error.Message, test.fault)

			stream.Send(&wire.Store{Key: []byte("k"), Value: test.value}, &wire.FindValue{Key: []byte("k")})
			require.Equal(t, &wire.FindValueReply{}, stream.Next())
			require.Equal(t, before+2, s.Handlers().Stats().DroppedStores)
		})
	}
	require.Zero(t, s.Handlers().Stats().Stored)
}

// The reply that carries a value nests two levels more than a value, so one that
// a STORE can carry may be too deep to be kept. In a CALL it breaks the frame.
func TestStoreRefusesDeepValues(t *testing.T) {
	srv, asker := dhttest.Host(t), dhttest.Host(t)
	s := newService(t, srv)
	stream := dhttest.Open(t, asker, srv)
	key := []byte("k")
	stream.Send(&wire.Store{Key: key, Value: dhttest.DeepValue(values.MaxDepth + 1)}, &wire.FindValue{Key: key})
	require.Equal(t, &wire.FindValueReply{}, stream.Next())
	require.Equal(t, uint64(1), s.Handlers().Stats().DroppedStores)

	deepest := procedures.StoreArgs{Key: key, Value: dhttest.DeepValue(values.MaxDepth)}
	require.Nil(t, stream.Ask(&wire.Call{Procedure: wire.ProcedureStore, Args: deepest.Raw()}).(*wire.Reply).Error)
	require.Equal(t, []wire.Raw{deepest.Value}, stream.Ask(&wire.FindValue{Key: key}).(*wire.FindValueReply).Values)

	deeper := procedures.StoreArgs{Key: key, Value: dhttest.DeepValue(values.MaxDepth + 1)}
	stream.Send(&wire.Call{Procedure: wire.ProcedureStore, Args: deeper.Raw()})
	stream.RequireReset(proto.ResetBadMsgpack)
}

func TestStoreArgsAreNamed(t *testing.T) {
	good := procedures.StoreArgs{Key: []byte("k"), Value: dhttest.Value("p")}
	expires := func(v wire.Raw) wire.Raw {
		return wire.RawMap(
			wire.Pair{Key: "key", Value: wire.RawText("k")},
			wire.Pair{Key: "value", Value: dhttest.Value("p")},
			wire.Pair{Key: "expires_in", Value: v})
	}
	tests := []struct {
		name string
		args wire.Raw
		want string // "" for taken
	}{
		{"all", good.Raw(), ""},
		{"no args", nil, "args"},
		{"args a list", wire.RawArray(), "args"},
		{"args a text", wire.RawText("{}"), "args"},
		{"no key", wire.RawMap(wire.Pair{Key: "value", Value: dhttest.Value("p")}), "key"},
		{"key an integer", wire.RawMap(wire.Pair{Key: "key", Value: wire.RawInt(1)}, wire.Pair{Key: "value", Value: dhttest.Value("p")}), "key"},
		{"key too long", (&procedures.StoreArgs{Key: make([]byte, 256), Value: dhttest.Value("p")}).Raw(), "key"},
		{"no value", wire.RawMap(wire.Pair{Key: "key", Value: wire.RawText("k")}), "value"},
		{"expires_in", expires(wire.RawInt(1)), ""},
		{"expires_in for ever", expires(wire.RawInt(math.MaxInt64)), ""},
		{"expires_in 0", expires(wire.RawInt(0)), "expires_in"},
		{"expires_in negative", expires(wire.RawInt(-5)), "expires_in"},
		{"expires_in so little that its nanoseconds turn around", expires(wire.RawInt(-9_223_372_037)), "expires_in"},
		{"expires_in the least", expires(wire.RawInt(math.MinInt64)), "expires_in"},
		{"expires_in beyond int64", expires(wire.Raw{0xcf, 255, 255, 255, 255, 255, 255, 255, 255}), ""},
		{"expires_in a text", expires(wire.RawText("5")), "expires_in"},
	}
	srv := dhttest.Host(t)
	newService(t, srv)
	stream := dhttest.Open(t, dhttest.Host(t), srv)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reply := stream.Ask(&wire.Call{Procedure: wire.ProcedureStore, Args: test.args}).(*wire.Reply)
			if test.want == "" {
				require.Nil(t, reply.Error)
				require.Equal(t, dhttest.StoreOK, reply.Result)
				return
			}
			require.NotNil(t, reply.Error)
			require.Equal(t, wire.CodeInvalidArgs, reply.Error.Code)
			require.Contains(t, reply.Error.Message, "parameter: "+test.want)
		})
	}
}

// A value that comes over libp2p is kept with every str as bin, which is what
// an Erlang node can read.
func TestStoreRewritesTexts(t *testing.T) {
	srv := dhttest.Host(t)
	newService(t, srv)
	stream := dhttest.Open(t, dhttest.Host(t), srv)
	sent := wire.Raw{0x83}
	sent = append(append(sent, text("node_id")...), text("me")...)
	sent = append(append(sent, text("empty")...), 0xa0)
	sent = append(append(sent, wire.RawText("list")...), append(wire.Raw{0x91}, text("ä")...)...)
	want := wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText("me")},
		wire.Pair{Key: "empty", Value: wire.Raw{0xc4, 0}},
		wire.Pair{Key: "list", Value: wire.RawArray(wire.RawText("ä"))})

	stream.Send(&wire.Store{Key: []byte("k"), Value: sent}, &wire.FindValue{Key: []byte("k")})
	require.Equal(t, []wire.Raw{want}, stream.Next().(*wire.FindValueReply).Values)

	// It is the same provider as one that sends bin.
	stream.Send(&wire.Store{Key: []byte("k"), Value: dhttest.Value("me")}, &wire.FindValue{Key: []byte("k")})
	require.Equal(t, []wire.Raw{dhttest.Value("me")}, stream.Next().(*wire.FindValueReply).Values)
}

func TestStoreLife(t *testing.T) {
	const day = 86_400
	ttl := func(seconds int64) wire.Raw {
		return dhttest.Value("p", wire.Pair{Key: "ttl", Value: wire.RawInt(seconds)})
	}
	tests := []struct {
		name      string
		value     wire.Raw
		expiresIn int64 // 0 for an original
		want      int64
	}{
		{"no ttl", dhttest.Value("p"), 0, day},
		{"ttl", ttl(60), 0, 60},
		{"ttl above a day", ttl(day + 1), 0, day},
		{"the longest ttl there is", ttl(math.MaxInt64), 0, day},
		{"a copy with less left", ttl(60), 10, 10},
		{"a copy with more left than its ttl", ttl(60), 100, 60},
		{"a copy without ttl", dhttest.Value("p"), 10, 10},
		{"a copy whose nanoseconds turn around", ttl(60), 9_223_372_037, 60},
		{"one that would turn to seconds", ttl(60), 18_446_744_074, 60},
		{"a copy for ever", dhttest.Value("p"), math.MaxInt64, day},
	}
	srv := dhttest.Host(t)
	newService(t, srv)
	cl, to := newClient(t, dhttest.Host(t)), dhttest.Contact(srv)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := procedures.StoreArgs{Key: []byte(t.Name()), Value: test.value}
			if test.expiresIn != 0 {
				args.ExpiresIn = wire.Some(test.expiresIn)
			}
			require.NoError(t, client.Put(dhttest.Context(t), cl, to, args))
			reply, err := client.FindValue(dhttest.Context(t), cl, to, args.Key)
			require.NoError(t, err)
			require.Len(t, reply.ExpiresIn, 1)
			require.LessOrEqual(t, reply.ExpiresIn[0], test.want)
			require.Greater(t, reply.ExpiresIn[0], test.want-5)
		})
	}
}

// Of two copies the one with more left is the fresher, and handing a record
// over never lengthens its life.
func TestStoreCopies(t *testing.T) {
	srv := dhttest.Host(t)
	newService(t, srv)
	cl, to := newClient(t, dhttest.Host(t)), dhttest.Contact(srv)
	copyOf := func(i, left int64) procedures.StoreArgs {
		return procedures.StoreArgs{Key: []byte("k"), ExpiresIn: wire.Some(left), Value: dhttest.Value("p", wire.Pair{Key: "i", Value: wire.RawInt(i)})}
	}
	steps := []struct {
		name string
		put  procedures.StoreArgs
		want int64 // i of the value that is there then
	}{
		{"the first", copyOf(1, 1000), 1},
		{"a staler one", copyOf(2, 500), 1},
		{"a fresher one", copyOf(3, 2000), 3},
		{"an original, whatever its life", procedures.StoreArgs{Key: []byte("k"), Value: dhttest.Value("p", wire.Pair{Key: "i", Value: wire.RawInt(4)}, wire.Pair{Key: "ttl", Value: wire.RawInt(100)})}, 4},
	}
	for _, step := range steps {
		require.NoError(t, client.Put(dhttest.Context(t), cl, to, step.put), step.name)
		reply, err := client.FindValue(dhttest.Context(t), cl, to, []byte("k"))
		require.NoError(t, err)
		require.Len(t, reply.Values, 1)
		i, _ := reply.Values[0].Field("i")
		require.Equal(t, wire.RawInt(step.want), i, step.name)
	}
}

func TestOwnership(t *testing.T) {
	srv, owner, other := dhttest.Host(t), dhttest.Host(t), dhttest.Host(t)
	s := newService(t, srv)
	to := dhttest.Contact(srv)
	ownerClient, otherClient := newClient(t, owner), newClient(t, other)
	key := []byte("k")
	version := func(h host.Host, i int64) wire.Raw {
		return dhttest.Value(string(dhttest.NodeID(h)), wire.Pair{Key: "i", Value: wire.RawInt(i)})
	}
	stored := func() []wire.Raw {
		values, err := s.Handlers().LookupValue(t.Context(), key)
		require.NoError(t, err)
		return values
	}
	put := func(c *client.Client, i int64) error {
		return client.Put(dhttest.Context(t), c, to, procedures.StoreArgs{Key: key, Value: version(owner, i)})
	}

	require.NoError(t, put(otherClient, 1), "nobody owns it yet: a copy handed over")
	require.NoError(t, ownerClient.Send(dhttest.Context(t), to, &wire.Store{Key: key, Value: version(owner, 2)}))
	require.Eventually(t, func() bool { return string(stored()[0]) == string(version(owner, 2)) }, dhttest.Patience, time.Millisecond)

	var remote *proto.RemoteError
	require.ErrorAs(t, put(otherClient, 3), &remote)
	require.Equal(t, wire.CodeNotOwner, remote.Code)
	dropped := s.Handlers().Stats().DroppedStores
	require.NoError(t, otherClient.Send(dhttest.Context(t), to, &wire.Store{Key: key, Value: version(owner, 4)}))
	require.Eventually(t, func() bool { return s.Handlers().Stats().DroppedStores == dropped+1 }, dhttest.Patience, time.Millisecond)
	require.Equal(t, []wire.Raw{version(owner, 2)}, stored())

	require.NoError(t, put(otherClient, 2), "the very same value changes nothing")
	require.ErrorIs(t, put(otherClient, 5), proto.ErrRemote, "nor does it change who owns it")
	require.NoError(t, put(ownerClient, 6))
	require.NoError(t, client.Put(dhttest.Context(t), otherClient, to, procedures.StoreArgs{Key: key, Value: version(other, 7)}))
	require.Equal(t, []wire.Raw{version(other, 7), version(owner, 6)}, stored(), "each beside the other")
}
