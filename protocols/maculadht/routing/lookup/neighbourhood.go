package lookup

import (
	"math"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// farBits is how many bits fewer than those of the region that should hold
// [routing.BucketSize] nodes a key may share with a node's id to be near: eight times
// that region, as the estimate may be off, and what was nearest when it was stored may
// be so no more.
const farBits = 3

// Neighbourhood tells which keys are near this node, by the size of the network that the
// lookups have seen.
func (l *Lookups) Neighbourhood() records.Neighbourhood { return neighbourhood{l} }

type neighbourhood struct{ lookups *Lookups }

func (n neighbourhood) Shared(key []byte) int {
	return n.lookups.server.Self().CommonPrefixLen(routing.IDFromBytes(key))
}

// Bits is 0 where the size is not known, and in a network so small that each node is
// near to every key.
func (n neighbourhood) Bits() int {
	nodes, known := n.lookups.Size()
	if !known {
		return 0
	}
	return max(0, int(math.Log2(nodes/routing.BucketSize))-farBits)
}
