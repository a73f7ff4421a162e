package routing

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A table that nobody keeps does not gather changes for ever.
func TestChangesAreBounded(t *testing.T) {
	table := NewTable(ID{}, 1)
	rng := newRand(11)
	for range 2 * maxChanges {
		c := libp2pContact(randomID(rng), "p")
		if table.Add(c) == nil {
			table.Remove(c.ID)
		}
	}
	require.LessOrEqual(t, len(table.changes.joined), maxChanges)
	require.LessOrEqual(t, len(table.changes.full), IDBits)
}

func TestChanges(t *testing.T) {
	erlang := erlangContact(ID{1}, "https://192.0.2.1:1")
	tests := map[string]struct {
		there, add []Contact
		joined     []ID
		full       []int
	}{
		"a new contact":                   {nil, []Contact{libp2pContact(ID{1}, "p")}, []ID{{1}}, nil},
		"one that speaks again":           {[]Contact{libp2pContact(ID{1}, "p")}, []Contact{libp2pContact(ID{1}, "p")}, nil, nil},
		"an unverified one":               {nil, []Contact{{ID: ID{1}, Peer: "p"}}, nil, nil},
		"which is verified later":         {[]Contact{{ID: ID{1}, Peer: "p"}}, []Contact{libp2pContact(ID{1}, "p")}, []ID{{1}}, nil},
		"a peer whose id another claimed": {[]Contact{erlang}, []Contact{libp2pContact(ID{1}, "p")}, []ID{{1}}, nil},
		"a full bucket": {[]Contact{libp2pContact(ID{0x80}, "p"), libp2pContact(ID{0x81}, "q")},
			[]Contact{libp2pContact(ID{0x82}, "r"), libp2pContact(ID{0x83}, "s")}, nil, []int{0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := NewTable(ID{}, 2)
			for _, c := range tt.there {
				require.NoError(t, table.Add(c))
			}
			table.TakeChanges()
			for _, c := range tt.add {
				_ = table.Add(c)
			}
			taken := table.TakeChanges()
			require.ElementsMatch(t, tt.joined, ids(taken.Joined))
			require.ElementsMatch(t, tt.full, taken.Full)
			require.Empty(t, taken.Returned)
			require.Equal(t, Changes{}, table.TakeChanges(), "once")
		})
	}
}
