package routing

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// newServer returns a server that is closed when the test ends. In a synctest
// bubble, close it inside the bubble instead.
func newServer(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	s, err := NewServer(ID{}, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func newRand(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 1))
}

func randomID(rng *rand.Rand) (id ID) {
	for i := 0; i < len(id); i += 8 {
		binary.BigEndian.PutUint64(id[i:], rng.Uint64())
	}
	return id
}

// idAt returns a random id that shares exactly cpl leading bits with self.
func idAt(rng *rand.Rand, self ID, cpl int) ID {
	id := randomID(rng)
	for i := range cpl + 1 {
		mask := byte(0x80 >> (i % 8))
		id[i/8] = id[i/8]&^mask | self[i/8]&mask
	}
	id[cpl/8] ^= 0x80 >> (cpl % 8)
	return id
}

func libp2pContact(id ID, p peer.ID) Contact {
	return Contact{ID: id, NodeID: id[:], Peer: p, Verified: true}
}

func erlangContact(id ID, endpoint string) Contact {
	return Contact{ID: id, NodeID: id[:], Endpoint: endpoint, Verified: true}
}

func ids(contacts []Contact) []ID {
	out := make([]ID, len(contacts))
	for i, c := range contacts {
		out[i] = c.ID
	}
	return out
}
