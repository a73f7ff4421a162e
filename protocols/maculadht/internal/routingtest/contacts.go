// Package routingtest has what the tests of routing's packages share: a scripted
// network ([Script]), of which each contact does what the test says, and a simulated
// one ([Sim]) of many real servers.
package routingtest

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// NewServer returns a server that is closed when the test ends. In a synctest
// bubble, close it inside the bubble instead.
func NewServer(tb testing.TB, opts ...routing.Option) *routing.Server {
	tb.Helper()
	s, err := routing.NewServer(routing.ID{}, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// Rand returns a source of numbers that a seed decides.
func Rand(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 1))
}

// RandomID returns a random id.
func RandomID(rng *rand.Rand) (id routing.ID) {
	for i := 0; i < len(id); i += 8 {
		binary.BigEndian.PutUint64(id[i:], rng.Uint64())
	}
	return id
}

// IDAt returns a random id that shares exactly cpl leading bits with self.
func IDAt(rng *rand.Rand, self routing.ID, cpl int) routing.ID {
	id := RandomID(rng)
	for i := range cpl + 1 {
		mask := byte(0x80 >> (i % 8))
		id[i/8] = id[i/8]&^mask | self[i/8]&mask
	}
	id[cpl/8] ^= 0x80 >> (cpl % 8)
	return id
}

// Libp2p returns a verified libp2p contact.
func Libp2p(id routing.ID, p peer.ID) routing.Contact {
	return routing.Contact{ID: id, NodeID: id[:], Peer: p, Verified: true}
}

// Erlang returns a verified Erlang contact.
func Erlang(id routing.ID, endpoint string) routing.Contact {
	return routing.Contact{ID: id, NodeID: id[:], Endpoint: endpoint, Verified: true}
}

// IDs returns the ids of contacts.
func IDs(contacts []routing.Contact) []routing.ID {
	out := make([]routing.ID, len(contacts))
	for i, c := range contacts {
		out[i] = c.ID
	}
	return out
}

// ValueOf returns a value of a provider.
func ValueOf(provider string, ttl time.Duration) wire.Raw {
	return wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes([]byte(provider))},
		wire.Pair{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))},
	)
}
