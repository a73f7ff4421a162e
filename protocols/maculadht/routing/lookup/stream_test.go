package lookup

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Values come as holders answer, and again only where they are fresher.
func TestStream(t *testing.T) {
	aged := func(expires int64, values ...wire.Raw) reply {
		return says(&wire.FindValueReply{Values: values, ExpiresIn: []int64{expires}}, nil)
	}
	play(t, 4, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Replies[s.Peers[0].ID] = after(100*time.Millisecond, aged(30, value("a", 60)))
		s.Replies[s.Peers[1].ID] = after(200*time.Millisecond, aged(31, value("a", 60)))
		s.Replies[s.Peers[2].ID] = after(300*time.Millisecond, aged(60, value("a", 60)))
		s.Replies[s.Peers[3].ID] = never
		var got []time.Duration
		for v, err := range lookups(s, WithQuorum(0)).Stream(t.Context(), Search{Key: s.Target[:]}) {
			require.NoError(t, err)
			require.Equal(t, "a", string(v.NodeID))
			got = append(got, time.Since(s.Start))
		}
		require.Equal(t, []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}, got, "as they come, the copy of another second not")
	})
}

func TestStreamEnds(t *testing.T) {
	tests := map[string]struct {
		holders int
		opts    []Option
		enough  int // for the loop
		yields  int
		asked   int
		err     error
	}{
		"with the quorum":        {10, nil, 100, 3, 5, nil},
		"with the loop":          {10, nil, 1, 1, 5, nil},
		"with the neighbourhood": {5, []Option{WithQuorum(0)}, 100, 5, 20, nil},
		"where there is nothing": {0, nil, 100, 0, 20, records.ErrNotFound},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 40, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = after(2*routingtest.Delay, names())
				for i, c := range s.Peers[:tt.holders] {
					s.Replies[c.ID] = after(routingtest.Delay+time.Duration(i), has(value(string(c.NodeID), 60)))
				}
				var last error
				yields := 0
				for _, err := range lookups(s, tt.opts...).Stream(t.Context(), Search{Key: s.Target[:]}) {
					if last = err; err != nil {
						continue
					}
					if yields++; yields == tt.enough {
						break
					}
				}
				require.ErrorIs(t, last, tt.err)
				require.Equal(t, tt.yields, yields)
				require.LessOrEqual(t, len(s.Asked), tt.asked)
				require.Zero(t, s.InFlight, "nothing is left running")
			})
		})
	}
}
