package maculadht

import (
	"crypto/rand"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

var forgeryLookups = flag.Int("forgery.lookups", 50, "how many lookups TestForgery does of each kind")

const (
	honestEndpoint = "https://192.0.2.7:8080"
	formerEndpoint = "https://192.0.2.7:7070"
	forgedEndpoint = "https://198.51.100.66:666"
)

// liar answers each FIND_VALUE with a record under the node id of somebody else, in one
// way after the other.
type liar struct {
	host     host.Host
	self     *Service
	nodeID   []byte // whose records it forges
	answered atomic.Int64

	mu     sync.Mutex
	former *wire.FindValueReply // what the honest provider had before, with its proof
	proof  []byte               // of what it has now
}

// newLiar starts one, nearer to a key than all others where they are named.
func newLiar(t *testing.T, nodeID []byte, key []byte, others ...*Service) *liar {
	t.Helper()
	l := &liar{nodeID: nodeID}
	l.host = dhttest.Host(t, libp2p.Identity(nearerThan(t, key, others)))
	l.self = newService(t, l.host)
	l.host.SetStreamHandler(proto.ProtocolID, func(s network.Stream) { l.serve(&dhttest.Scripted{Stream: s, In: framing.NewReader(s)}) })
	t.Cleanup(func() { l.host.RemoveStreamHandler(proto.ProtocolID) })
	return l
}

// nearerThan makes a key whose node id is nearer to a DHT's key than those of others.
func nearerThan(t *testing.T, key []byte, others []*Service) crypto.PrivKey {
	target := routing.IDFromBytes(key)
	for {
		private, _, err := crypto.GenerateEd25519Key(rand.Reader)
		require.NoError(t, err)
		p, err := peer.IDFromPrivateKey(private)
		require.NoError(t, err)
		id, nearest := routing.IDFromPeer(p), true
		for _, o := range others {
			nearest = nearest && target.Closer(id, o.Routing().Self())
		}
		if nearest {
			return private
		}
	}
}

func (l *liar) serve(s *dhttest.Scripted) {
	for m := s.Next(); m != nil; m = s.Next() {
		switch m := m.(type) {
		case *wire.Connect:
			s.Reply(&wire.Pong{NodeID: dhttest.NodeID(l.host), RealmID: proto.DefaultRealm})
		case *wire.Ping:
			s.Reply(&wire.Pong{Timestamp: m.Timestamp})
		case *wire.FindValue:
			s.Reply(l.lie(int(l.answered.Add(1))))
		case *wire.FindNode:
			s.Reply(&wire.FindNodeReply{})
		case *wire.Call:
			s.Reply(&wire.Reply{CallID: m.CallID, Result: dhttest.StoreOK})
		}
	}
	s.Close()
}

// forged is a record at the liar's endpoint, that lives longer than any other.
func (l *liar) forged() wire.Raw {
	return dhttest.Value(string(l.nodeID), wire.Pair{Key: "endpoint", Value: wire.RawText(forgedEndpoint)}, wire.Pair{Key: "ttl", Value: wire.RawInt(86400)})
}

func (l *liar) lie(n int) *wire.FindValueReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	reply := &wire.FindValueReply{Values: []wire.Raw{l.forged()}, ExpiresIn: []int64{86400}}
	switch n % 5 {
	case 0: // without a proof
	case 1: // with that of another value
		reply.Proofs = [][]byte{l.proof}
	case 2:
		reply.Proofs = [][]byte{[]byte("rubbish")}
	case 3: // what was true once
		return l.former
	case 4: // with a value's proof for a tombstone
		reply.Tombstones = [][]byte{l.proof}
	}
	return reply
}

// holding asks a node for what it has, with proofs.
func holding(t *testing.T, asker *client.Client, s *Service, key []byte) *wire.FindValueReply {
	t.Helper()
	reply, err := client.FindValue(dhttest.Context(t), asker, dhttest.Contact(s.host), key)
	require.NoError(t, err)
	require.Len(t, reply.Values, 1)
	require.Len(t, reply.Proofs, 1)
	return reply
}

// A liar among the nearest holders serves an endpoint of its own under the node id of an
// honest provider, and stores it at the others. Every lookup returns the provider's
// endpoint first, as proved, and none another one of that node id.
func TestForgery(t *testing.T) {
	t.Parallel()
	const name = "greeter"
	key := ServiceKey(name)
	honest := meshOf(t, 5)
	provider := honest[0]
	asker := newClient(t, dhttest.Host(t))
	nodeID := dhttest.NodeID(provider.host)

	before, err := provider.AdvertiseService(t.Context(), Offer{Name: name, Endpoint: formerEndpoint})
	require.NoError(t, err)
	published(t, before)
	former := holding(t, asker, honest[1], key)
	require.NoError(t, before.Withdraw())
	a, err := provider.AdvertiseService(t.Context(), Offer{Name: name, Endpoint: honestEndpoint})
	require.NoError(t, err)
	published(t, a)
	now := holding(t, asker, honest[1], key)

	lookups := func(kind string, l *liar, opts ...lookup.Option) {
		reader := newService(t, dhttest.Host(t), WithMode(ModeClient), WithLookups(opts...))
		others := honest
		if l != nil {
			others = append(others[:len(others):len(others)], l.self)
		}
		for _, s := range others {
			dhttest.Connect(t, reader.host, s.host)
			eventually(t, knows(reader, s.host), "met")
		}
		var first, inPlace int
		start := time.Now()
		for range *forgeryLookups {
			found, err := reader.FindProviders(dhttest.Context(t), name)
			require.NoError(t, err)
			if found[0].Proved && found[0].Endpoint == honestEndpoint && string(found[0].NodeID) == string(nodeID) {
				first++
			}
			for _, p := range found {
				if string(p.NodeID) == string(nodeID) && p.Endpoint != honestEndpoint {
					inPlace++
				}
			}
		}
		took := time.Since(start) / time.Duration(*forgeryLookups)
		lies := int64(0)
		if l != nil {
			lies = l.answered.Load()
			require.GreaterOrEqual(t, 4*lies, int64(*forgeryLookups), "the liar is asked, one of six, by every second one that asks three")
		}
		t.Logf("%s: the proved endpoint first in %d of %d lookups, another of its node id in %d; %d lies, %v a lookup",
			kind, first, *forgeryLookups, inPlace, lies, took)
		require.Equal(t, *forgeryLookups, first)
		require.Zero(t, inPlace)
		proved := false
		for p, err := range reader.ProvidersSeq(dhttest.Context(t), name) {
			require.NoError(t, err)
			require.False(t, proved && !p.Proved, "what is not proved does not come after what is")
			proved = p.Proved
		}
	}
	lookups("calm", nil)
	for _, attack := range []struct {
		kind   string
		chosen []*Service
		opts   []lookup.Option
	}{
		{"attacked", nil, []lookup.Option{lookup.WithQuorum(0)}}, // so that it is asked wherever it is
		{"attacked by a chosen id", honest, nil},
	} {
		l := newLiar(t, nodeID, key, attack.chosen...)
		l.former, l.proof = former, now.Proofs[0]
		for _, s := range honest {
			dhttest.Connect(t, l.host, s.host)
			eventually(t, knows(s, l.host), "the liar is a contact")
			for _, args := range []procedures.StoreArgs{
				{Key: key, Value: l.forged()},
				{Key: key, Value: l.forged(), ExpiresIn: wire.Some[int64](86400)},
				{Key: key, Value: l.forged(), Proof: now.Proofs[0]},
				{Key: key, Value: former.Values[0], Proof: former.Proofs[0]},
				{Key: key, Proof: now.Proofs[0]},
			} {
				require.ErrorIs(t, client.Put(dhttest.Context(t), l.self.router, dhttest.Contact(s.host), args), proto.ErrRemote)
			}
		}
		lookups(attack.kind, l, attack.opts...)
		require.NoError(t, l.self.Close())
		l.host.RemoveStreamHandler(proto.ProtocolID)
		require.NoError(t, l.host.Close())
		for _, s := range honest {
			require.Equal(t, now.Values[0], holding(t, asker, s, key).Values[0], "what holders have")
		}
	}
}

// meshOf returns services that all know each other.
func meshOf(t *testing.T, n int, opts ...Option) []*Service {
	t.Helper()
	services := make([]*Service, n)
	for i := range services {
		services[i] = newService(t, dhttest.Host(t), opts...)
		for _, s := range services[:i] {
			dhttest.Connect(t, services[i].host, s.host)
			eventually(t, knows(services[i], s.host), "the dialled is admitted")
			eventually(t, knows(s, services[i].host), "the dialler is admitted")
		}
	}
	return services
}

// Who comes late, and never met the provider, is handed its record with the proof, and
// guards it as the others do.
func TestHandedOverWithItsProof(t *testing.T) {
	t.Parallel()
	services := meshOf(t, 2, handOverAtOnce())
	a, err := services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: honestEndpoint})
	require.NoError(t, err)
	published(t, a)
	key := ServiceKey("greeter")
	require.NoError(t, services[0].Close())
	late := newService(t, dhttest.Host(t))
	dhttest.Connect(t, late.host, services[1].host)
	has := func() (held []records.Record) {
		held, _ = late.Routing().Records().Values(t.Context(), key)
		return held
	}
	eventually(t, func() bool { return len(has()) > 0 }, "handed over")
	there, err := services[1].Routing().Records().Values(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, there[0].Proof, has()[0].Proof)
	forged := (&liar{nodeID: there[0].NodeID}).forged()
	for _, args := range []procedures.StoreArgs{{Key: key, Value: forged}, {Key: key, Value: forged, Proof: there[0].Proof.Envelope}} {
		require.ErrorIs(t, client.Put(dhttest.Context(t), services[1].router, dhttest.Contact(late.host), args), proto.ErrRemote)
	}
	require.Equal(t, there[0].Value, has()[0].Value)
}

// Who wants proved providers alone is told no others.
func TestProvedProvidersOnly(t *testing.T) {
	t.Parallel()
	services := meshOf(t, 3)
	for _, endpoint := range []string{"https://192.0.2.8:1"} {
		value := dhttest.Value(fmt.Sprintf("%064x", len(endpoint)), wire.Pair{Key: "endpoint", Value: wire.RawText(endpoint)})
		_, err := services[1].Store(dhttest.Context(t), ServiceKey("greeter"), value)
		require.NoError(t, err)
		_, err = services[1].Store(dhttest.Context(t), ServiceKey("other"), value)
		require.NoError(t, err)
	}
	a, err := services[0].AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: honestEndpoint, TTL: time.Minute})
	require.NoError(t, err)
	published(t, a)
	for proved, opts := range map[bool][]Option{false: nil, true: {WithProvedProviders()}} {
		reader := newService(t, dhttest.Host(t), append(opts, WithMode(ModeClient))...)
		for _, s := range services {
			dhttest.Connect(t, reader.host, s.host)
			eventually(t, knows(reader, s.host), "met")
		}
		found, err := reader.FindProviders(dhttest.Context(t), "greeter")
		require.NoError(t, err)
		require.True(t, found[0].Proved)
		require.Equal(t, honestEndpoint, found[0].Endpoint, "before one that lives a day")
		others, err := reader.FindProviders(dhttest.Context(t), "other")
		if proved {
			require.Len(t, found, 1)
			require.ErrorIs(t, err, ErrNotFound)
			require.Empty(t, others)
			continue
		}
		require.NoError(t, err)
		require.Len(t, found, 2)
		require.False(t, found[1].Proved)
		require.Len(t, others, 1)
		require.False(t, others[0].Proved)
	}
}
