package upkeep

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Who leaves hands over what it may be the only one to have.
func TestLeave(t *testing.T) {
	const records = 50
	tests := map[string]struct {
		others  int
		prepare func(s *script, key []byte)
		taken   int
		offers  int
		within  time.Duration
	}{
		"to the three nearest":  {10, func(*script, []byte) {}, records, 3 * records, time.Second},
		"to the only other one": {1, func(*script, []byte) {}, records, records, time.Second},
		"to nobody":             {0, func(*script, []byte) {}, 0, 0, 0},
		"not to one that is doubtful": {1, func(s *script, _ []byte) {
			s.Replies[s.Peers[0].ID] = says(nil, proto.ErrUnreachable)
			s.Server.Table().Doubt(s.Peers[0].ID, time.Now())
		}, 0, 0, 0},
		"not to Erlang nodes":           {0, func(s *script, _ []byte) { s.Know(s.ErlangIn(0, 1)) }, 0, 0, 0},
		"nor again to one that is gone": {1, func(s *script, _ []byte) { s.SetOther(says(nil, proto.ErrUnreachable)) }, 0, leavesAtOnce, 0},
		"for as long as it may":         {1, func(s *script, _ []byte) { s.SetOther(never) }, 0, leavesAtOnce, 2 * time.Second},
		"not what others are to keep": {60, func(s *script, key []byte) {
			for i := range routing.BucketSize {
				s.Know(at(key, 240, i))
			}
		}, 0, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, tt.others, func(t *testing.T, s *script) {
				u := startUpkeep(s, unhurried)
				defer u.Close()
				fill(s, records)
				for _, c := range s.Peers {
					c.LastSeen = time.Now()
					s.Know(c)
				}
				key := keyOf(s, 0, s.Peers)
				tt.prepare(s, key)
				time.Sleep(settle)
				forgetHandOvers(s)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				start := time.Now()
				require.Equal(t, tt.taken, u.Leave(ctx))
				require.LessOrEqual(t, time.Since(start), tt.within)
				offers := 0
				for _, c := range s.Server.Contacts() {
					offers += len(handed(s, c))
				}
				if name == "nor again to one that is gone" { // those on their way, and one that waits for its slot
					require.NotZero(t, offers)
					require.LessOrEqual(t, offers, tt.offers+1)
					return
				}
				require.InDelta(t, tt.offers, offers, 1)
			})
		})
	}
}

// Who comes back with another store, or after a while, is filled at once; but not as
// often as it likes.
func TestWhoComesBackIsFilled(t *testing.T) {
	tests := map[string]struct {
		back   func(s *script, c routing.Contact) routing.Contact
		times  int // that it comes back
		filled int
	}{
		"with the same store": {func(_ *script, c routing.Contact) routing.Contact { return c }, 1, 0},
		"with another one":    {another, 1, 1},
		"without any":         {func(_ *script, c routing.Contact) routing.Contact { c.StoreID = nil; return c }, 1, 0},
		"again and again":     {another, 20, refills - 1},
		"after it was forgotten, with another one": {func(s *script, c routing.Contact) routing.Contact {
			s.Server.Forget(c.ID)
			return another(s, c)
		}, 1, 1},
		"after a short while": {func(s *script, c routing.Contact) routing.Contact {
			s.Server.Table().Failed(c.ID, time.Now())
			time.Sleep(routing.AwayAfter - time.Second)
			return c
		}, 1, 0},
		"after a minute": {func(s *script, c routing.Contact) routing.Contact {
			s.Server.Table().Failed(c.ID, time.Now())
			time.Sleep(routing.AwayAfter)
			return c
		}, 1, 1},
		"after it was dropped": {func(s *script, c routing.Contact) routing.Contact {
			for range routing.MaxFailures {
				s.Server.Table().Failed(c.ID, time.Now())
			}
			return c
		}, 1, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				u := startUpkeep(s, unhurried)
				defer u.Close()
				c, _ := fill(s, 10)
				c.StoreID, c.LastSeen = []byte{0}, time.Now()
				s.Know(c)
				forgetHandOvers(s)
				for range tt.times {
					c = tt.back(s, c)
					c.LastSeen = time.Now()
					s.Know(c)
					time.Sleep(2 * time.Second)
				}
				require.Len(t, handed(s, c), 10*tt.filled)
			})
		})
	}
}

func another(_ *script, c routing.Contact) routing.Contact {
	c.StoreID = append(bytes.Clone(c.StoreID), 1)
	return c
}

// Who was dropped and is heard of again is asked, and taken back.
func TestAWayBack(t *testing.T) {
	tests := map[string]struct {
		reply  reply
		heard  int
		pings  int
		isBack bool
	}{
		"it answers":             {nil, 1, 1, true},
		"it does not":            {says(nil, proto.ErrUnreachable), 1, 1, false},
		"nor however it insists": {says(nil, proto.ErrUnreachable), 100, 2, false},
		"it is not heard of":     {nil, 0, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 3, func(t *testing.T, s *script) {
				u := startUpkeep(s, unhurried)
				defer u.Close()
				s.Know(s.Peers...)
				c := s.Peers[0]
				for range routing.MaxFailures {
					s.Server.Table().Failed(c.ID, time.Now())
				}
				require.NotContains(t, ids(s.Server.Contacts()), c.ID)
				if tt.reply != nil {
					s.Replies[c.ID] = tt.reply
				}
				u.Heard(s.Peers[1].ID)
				u.Heard(routingtest.Peer(77).ID)
				for range tt.heard {
					u.Heard(c.ID)
				}
				time.Sleep(DefaultRetry + time.Second)
				require.Len(t, s.Questions(c, wire.TypePing), tt.pings)
				known, isBack := s.Server.Contact(c.ID)
				require.Equal(t, tt.isBack, isBack && known.Confirmed())
				require.Zero(t, len(s.Asked)-tt.pings, "nobody else is asked")
			})
		})
	}
}
