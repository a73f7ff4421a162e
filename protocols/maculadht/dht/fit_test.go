package dht

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func sizedRecord(n int, from string) records.Record {
	value := wire.RawMap(wire.Pair{Key: "x", Value: wire.RawText(string(make([]byte, n)))})
	return records.Record{Value: value, Expires: time.Now().Add(time.Hour), Source: records.Source{Name: from}}
}

// A reply is never longer than it may be, but for one record alone, has no record twice,
// and leaves none out that there is room for.
func TestFit(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		recs := make([]records.Record, 1+rng.IntN(9))
		for i := range recs {
			recs[i] = sizedRecord(rng.IntN(400), string(rune('a'+rng.IntN(4))))
			recs[i].NodeID = fmt.Append(nil, i)
			recs[i].Owned = rng.IntN(3) == 0
		}
		d, limit := &server.Dialect{Extended: rng.IntN(2) == 0}, rng.IntN(2500)
		got, left := fit(recs, d, limit, rng.Uint64)
		require.Equal(t, len(recs)-len(got), left)

		reply, size, told := &wire.FindValueReply{}, replyOverhead, map[string]bool{}
		for _, r := range got {
			require.False(t, told[string(r.NodeID)], "twice")
			told[string(r.NodeID)] = true
			size += recordSize(&r, d)
			reply.Values = append(reply.Values, r.Value)
			if d.Extended {
				reply.ExpiresIn = append(reply.ExpiresIn, 86_400)
			}
		}
		if n := len(dhttest.Frames(t, reply)); n > limit {
			require.Len(t, got, 1, "%d bytes, limit %d", n, limit)
		}
		for _, r := range recs {
			if !told[string(r.NodeID)] {
				require.Greater(t, size+recordSize(&r, d), limit, "there is room for it")
			}
		}
		order, _ := records.InTurn(recs)
		if first := recs[order[0]]; recordSize(&first, d) <= limit-replyOverhead {
			require.True(t, told[string(first.NodeID)], "the first in turn is told of")
		}
	}
}

// However many records one stranger has under a key, and however long they live, who has
// one is told of in every reply, and each of the stranger's in some.
func TestFitInACrowd(t *testing.T) {
	for name, tt := range map[string]struct{ size, limit int }{
		"small values, to who has not CONNECTed": {60, 1100},
		"values of 60 kB":                        {60_000, 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			var recs []records.Record
			for i := range 250 {
				r := sizedRecord(tt.size, "attacker")
				r.Expires, r.NodeID = time.Now().Add(24*time.Hour), fmt.Append(nil, i)
				recs = append(recs, r)
			}
			honest := sizedRecord(60, "honest")
			honest.NodeID = []byte("honest")
			recs = append(recs, honest) // before all of them, and nobody's own
			told := map[string]int{}
			const replies = 2000
			rng := rand.New(rand.NewPCG(5, 6))
			for range replies {
				got, _ := fit(recs, &server.Dialect{}, tt.limit, rng.Uint64)
				for _, r := range got {
					told[string(r.NodeID)]++
				}
			}
			require.Equal(t, replies, told["honest"])
			require.Len(t, told, len(recs), "each of the others sooner or later")
		})
	}
}

// Some who have many, in as many networks as fill the room, leave who has one his turn.
func TestFitBesideCrowds(t *testing.T) {
	for name, tt := range map[string]struct{ size, limit, crowds int }{
		"small values, to who has not CONNECTed": {60, 1100, 8},
		"values of 60 kB":                        {60_000, 256 << 10, 8},
	} {
		t.Run(name, func(t *testing.T) {
			var recs []records.Record
			for i := range 750 {
				r := sizedRecord(tt.size, fmt.Sprint("attacker ", i%tt.crowds))
				r.NodeID, r.Owned = fmt.Append(nil, i), true
				recs = append(recs, r)
			}
			honest := sizedRecord(tt.size, "honest")
			honest.NodeID = []byte("honest")
			recs = append(recs, honest)
			told := map[string]int{}
			const replies = 2000
			rng := rand.New(rand.NewPCG(5, 6))
			for range replies {
				got, _ := fit(recs, &server.Dialect{}, tt.limit, rng.Uint64)
				for _, r := range got {
					told[string(r.NodeID)]++
				}
			}
			t.Logf("told of in %.0f %% of the replies", 100*float64(told["honest"])/replies)
			require.GreaterOrEqual(t, told["honest"], replies/tt.crowds)
			require.Greater(t, len(told), len(recs)/2, "all have their turn, sooner or later")
		})
	}
}
