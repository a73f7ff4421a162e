package lookup

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

func TestValuesEnd(t *testing.T) {
	tests := map[string]struct {
		holders []int // of 40 known, by nearness
		local   bool
		opts    []Option
		found   int // holders counted
		asked   int
	}{
		"at three holders":              {[]int{0, 1, 2, 3, 4, 5, 6}, false, nil, 3, 5},
		"at one, if one is enough":      {[]int{0, 1}, false, []Option{WithQuorum(1)}, 1, 3},
		"our own value counts":          {[]int{0, 1, 2, 3}, true, nil, 3, 4},
		"at the whole neighbourhood":    {[]int{4, 30}, false, nil, 1, 20},
		"at it, if that is wanted":      {[]int{0, 1, 2, 3, 19}, false, []Option{WithQuorum(0)}, 5, 20},
		"nothing there":                 {nil, false, nil, 0, 20},
		"at once, if our own is enough": {[]int{0}, true, []Option{WithQuorum(1)}, 1, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 40, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = after(2*routingtest.Delay, names())
				for _, i := range tt.holders {
					s.Replies[s.Peers[i].ID] = after(routingtest.Delay+time.Duration(i), has(value("provider", 60)))
				}
				if tt.local {
					v, err := values.Parse(value("provider", 60))
					require.NoError(t, err)
					require.NoError(t, s.Server.Records().Store(context.Background(), records.Put{Key: s.Target[:], Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
				}
				found, err := lookups(s, tt.opts...).Values(t.Context(), s.Target[:])
				require.Equal(t, tt.found, found.Holders)
				require.Len(t, s.Asked, tt.asked)
				if tt.found == 0 {
					require.ErrorIs(t, err, records.ErrNotFound)
					return
				}
				require.NoError(t, err)
				require.Equal(t, []string{"provider"}, providers(found.Values))
			})
		})
	}
}

func TestValuesMerge(t *testing.T) {
	aged := func(expires []int64, values ...wire.Raw) reply {
		return says(&wire.FindValueReply{Values: values, ExpiresIn: expires}, nil)
	}
	anonymous := wire.RawMap(wire.Pair{Key: "ttl", Value: wire.RawInt(7)})
	tests := map[string]struct {
		replies []reply
		found   map[string]time.Duration // life left
	}{
		"one provider, the longer life wins": {
			[]reply{aged([]int64{10}, value("a", 60)), aged([]int64{30}, value("a", 60)), aged([]int64{20}, value("a", 60))},
			map[string]time.Duration{"a": 30 * time.Second},
		},
		"several providers": {
			[]reply{aged([]int64{10, 20}, value("a", 60), value("b", 60)), aged([]int64{30}, value("c", 60))},
			map[string]time.Duration{"a": 10 * time.Second, "b": 20 * time.Second, "c": 30 * time.Second},
		},
		"without age the ttl counts": {[]reply{aged(nil, value("a", 60))}, map[string]time.Duration{"a": time.Minute}},
		"age never lengthens a life": {[]reply{aged([]int64{1 << 40}, value("a", 60))}, map[string]time.Duration{"a": time.Minute}},
		"without provider the same value is one": {
			[]reply{aged(nil, anonymous), aged(nil, anonymous)},
			map[string]time.Duration{string(anonymous): 7 * time.Second},
		},
		"no life left, no value":                        {[]reply{aged([]int64{0, -5, 3}, value("a", 60), value("b", 60), value("c", 60))}, map[string]time.Duration{"c": 3 * time.Second}},
		"nor a debt so large that it would turn around": {[]reply{aged([]int64{-9_223_372_037, -1 << 63, -9_223_372_036_854_775, 3}, value("a", 60), value("b", 60), value("d", 60), value("c", 60))}, map[string]time.Duration{"c": 3 * time.Second}},
		"dead before the end":                           {[]reply{aged([]int64{1}, value("a", 60)), after(1500*time.Millisecond, aged(nil, value("b", 60)))}, map[string]time.Duration{"b": time.Minute}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, len(tt.replies), func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				for i, r := range tt.replies {
					s.Replies[s.Peers[i].ID] = r
				}
				start := time.Now()
				patient := WithTimeouts(DefaultQueryTimeout, 2*time.Second, DefaultLookupTimeout)
				found, err := lookups(s, patient, WithQuorum(0)).Values(t.Context(), s.Target[:])
				require.NoError(t, err)
				require.Len(t, found.Values, len(tt.found))
				for i, v := range found.Values {
					left := v.Expires.Sub(start)
					if name == "dead before the end" {
						left -= 1500 * time.Millisecond
					}
					require.Equal(t, tt.found[providers(found.Values)[i]], left)
					require.False(t, i > 0 && v.Expires.After(found.Values[i-1].Expires), "longest life first")
				}
			})
		})
	}
}
