package lookup

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestNeighbourhood(t *testing.T) {
	server, err := routing.NewServer(routing.ID{0xf0})
	require.NoError(t, err)
	defer server.Close()
	l := &Lookups{server: server}
	n := l.Neighbourhood()
	require.Zero(t, n.Bits(), "no lookup has told the size")
	for shared, first := range []byte{0x00, 0x80, 0xc0, 0xe0, 0xf8, 0xf4} {
		key := make([]byte, 32)
		key[0] = first
		require.Equal(t, shared, n.Shared(key), "%x", first)
	}
	for nodes, want := range map[float64]int{15: 0, 20: 0, 150: 0, 330: 1, 10_000: 5, 1_000_000: 12} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			for region := range byte(8) {
				target := routing.ID{region << 5}
				closest := make([]routing.Contact, routing.BucketSize)
				last := target
				binary.BigEndian.PutUint64(last[:], binary.BigEndian.Uint64(last[:])^uint64((routing.BucketSize-1./3)/nodes*math.MaxUint64/(1+1e-9)))
				closest[routing.BucketSize-1].ID = last
				l.density.Note(target, closest, time.Now())
			}
			require.Equal(t, want, n.Bits())
		})
	}
}
