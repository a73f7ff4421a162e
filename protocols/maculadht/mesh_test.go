package maculadht

import (
	"context"
	"crypto/sha256"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// chain starts services of which each knows only the one before it, and none
// other until it asks.
func chain(t *testing.T, n int) []*Service {
	t.Helper()
	services := make([]*Service, n)
	var before host.Host
	for i := range services {
		h := dhttest.Host(t)
		services[i] = newService(t, h)
		if before != nil {
			dhttest.Connect(t, h, before)
			eventually(t, knows(services[i], before), "the dialled is admitted")
			eventually(t, knows(services[i-1], h), "the dialler is admitted")
		}
		before = h
	}
	return services
}

func keyOf(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

func TestStoreAndFindAcrossTheMesh(t *testing.T) {
	t.Parallel()
	services := chain(t, 5)
	first, last := services[0], services[len(services)-1]
	require.False(t, knows(last, first.host)(), "the last has never met the first")

	key, value := keyOf("greeter"), dhttest.Value("me")
	replicas, err := first.Store(dhttest.Context(t), key, value)
	require.NoError(t, err)
	require.Len(t, replicas.Acknowledged, len(services)-1, "fewer than k nodes: all of them hold it")
	require.Empty(t, replicas.Failed)

	found, err := last.FindValues(dhttest.Context(t), key)
	require.NoError(t, err)
	require.Len(t, found.Values, 1)
	require.Equal(t, value, found.Values[0].Raw)

	// The one that stored it goes, and most of those that hold it.
	for _, s := range services[:3] {
		require.NoError(t, s.Close())
		require.NoError(t, s.host.Close())
	}
	asker := newService(t, dhttest.Host(t))
	dhttest.Connect(t, asker.host, last.host)
	eventually(t, knows(asker, last.host), "admitted")
	found, err = asker.FindValues(dhttest.Context(t), key)
	require.NoError(t, err)
	require.Equal(t, value, found.Values[0].Raw)
	require.GreaterOrEqual(t, found.Holders, 1)
}

func TestFindNodesAcrossTheMesh(t *testing.T) {
	services := chain(t, 5)
	target := routing.IDFromPeer(services[0].host.ID())
	found, err := services[4].FindNodes(dhttest.Context(t), target[:])
	require.NoError(t, err)
	require.Equal(t, services[0].host.ID(), found.Closest[0].Peer)
	require.Len(t, found.Closest, 4)
	require.NotZero(t, found.Hops)
}

func TestFindValuesOfNothing(t *testing.T) {
	services := chain(t, 3)
	found, err := services[2].FindValues(dhttest.Context(t), keyOf("nothing"))
	require.ErrorIs(t, err, ErrNotFound)
	require.Len(t, found.Closest, 2, "all were asked")
}

func TestStoreByOurselvesIsOwned(t *testing.T) {
	services := chain(t, 2)
	owner, holder := services[0], services[1]
	key, value := keyOf("mine"), dhttest.Value(string(dhttest.NodeID(owner.host)))
	_, err := owner.Store(dhttest.Context(t), key, value)
	require.NoError(t, err)

	forged := dhttest.Value(string(dhttest.NodeID(owner.host)), wire.Pair{Key: "endpoint", Value: wire.RawText("https://192.0.2.1:1")})
	for _, s := range services {
		thief := newClient(t, dhttest.Host(t))
		err := client.Put(dhttest.Context(t), thief, dhttest.Contact(s.host), procedures.StoreArgs{Key: key, Value: forged})
		require.ErrorContains(t, err, wire.CodeNotOwner)
	}
	values, err := holder.Handlers().LookupValue(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, []wire.Raw{value}, values)
}

func TestStoreAlone(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	key, value := keyOf("alone"), dhttest.Value("me")
	_, err := s.Store(dhttest.Context(t), key, value)
	require.ErrorIs(t, err, ErrNoReplicas)
	values, err := s.Handlers().LookupValue(t.Context(), key)
	require.NoError(t, err, "it is kept here all the same")
	require.Equal(t, []wire.Raw{value}, values)
}

func TestStoreRefusesWhatNobodyWouldTake(t *testing.T) {
	s := newService(t, dhttest.Host(t))
	for name, test := range map[string]struct {
		key   []byte
		value wire.Raw
	}{
		"no key":         {nil, dhttest.Value("me")},
		"a long key":     {make([]byte, 256), dhttest.Value("me")},
		"not a map":      {[]byte("k"), wire.RawInt(1)},
		"no time left":   {[]byte("k"), dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(0)})},
		"not a value":    {[]byte("k"), wire.Raw{0xc1}},
		"nothing at all": {[]byte("k"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Store(dhttest.Context(t), test.key, test.value)
			require.ErrorIs(t, err, proto.ErrInvalidRequest)
		})
	}
}

// erlangNetwork notes what Erlang contacts are sent.
type erlangNetwork struct{ sent []wire.Message }

func (n *erlangNetwork) Send(_ context.Context, _ routing.Contact, m wire.Message) error {
	n.sent = append(n.sent, m)
	return nil
}

func (n *erlangNetwork) Query(context.Context, routing.Contact, wire.Message) (wire.Message, error) {
	return nil, proto.ErrUnreachable
}

func TestReplicateToErlangContacts(t *testing.T) {
	for name, test := range map[string]struct {
		key  []byte
		sent int
	}{
		"is sent by STORE":              {keyOf("greeter"), 1},
		"but no gateway's registration": {[]byte(wire.GatewayPrefix + "x"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			erlang := &erlangNetwork{}
			s := newService(t, dhttest.Host(t), WithEndpoints(erlang))
			require.NoError(t, s.Routing().Admit(routing.Contact{
				ID: routing.IDFromBytes([]byte("e")), NodeID: []byte("e"), Endpoint: "https://127.0.0.1:1", Verified: true,
			}))
			replicas, err := s.Store(dhttest.Context(t), test.key, dhttest.Value("me"))
			require.Len(t, erlang.sent, test.sent)
			require.Len(t, replicas.Sent, test.sent)
			if test.sent == 0 {
				require.ErrorIs(t, err, ErrNoReplicas)
				return
			}
			require.NoError(t, err)
			require.Equal(t, &wire.Store{Key: test.key, Value: dhttest.Value("me")}, erlang.sent[0])
		})
	}
}
