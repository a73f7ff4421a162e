package upkeep

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// receiving tells to how many contacts records are on their way, by what answers for
// them.
type receiving struct {
	mu     sync.Mutex
	now    map[routing.ID]int
	most   int // contacts at a time
	served map[routing.ID]int
}

// answers keeps a record for as long as it takes.
func (r *receiving) answers(id routing.ID, takes time.Duration) reply {
	return func(ctx context.Context, m wire.Message) (wire.Message, error) {
		call, ok := m.(*wire.Call)
		if !ok {
			return names()(ctx, m)
		}
		r.count(id, +1)
		defer r.count(id, -1)
		time.Sleep(takes)
		return &wire.Reply{CallID: call.CallID}, nil
	}
}

func (r *receiving) count(id routing.ID, by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now[id] += by; r.now[id] == 0 {
		delete(r.now, id)
	}
	r.most = max(r.most, len(r.now))
	if by < 0 {
		r.served[id]++
	}
}

// Newcomers of one IP group have records handed over to a few of them at a time, and to
// all in the end; where there are no groups all are served together.
func TestHandOversOfOneGroup(t *testing.T) {
	tests := map[string]struct {
		ip    string
		takes time.Duration
		most  int // at a time; 0 for all of them
	}{
		"of a network on the internet":    {"9.9.9.%d", 10 * time.Millisecond, handOversPerGroup},
		"on loopback":                     {"127.0.0.%d", 10 * time.Millisecond, 0},
		"of a private network":            {"10.0.0.%d", 10 * time.Millisecond, 0},
		"that are slow, and served apart": {"9.9.9.%d", 900 * time.Millisecond, 2 * handOversPerGroup},
		"of other groups each":            {"9.9.%d.9", 10 * time.Millisecond, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				const newcomers, count = 8, 60
				first, _ := fill(s, count)
				defer startUpkeep(s).Close()
				r := &receiving{now: make(map[routing.ID]int), served: make(map[routing.ID]int)}
				for i := range newcomers {
					c := first
					c.ID[31] ^= byte(i)
					c.Peer = routingtest.Peer(70 + i).Peer
					c.SeenIP, c.LastSeen = netip.MustParseAddr(fmt.Sprintf(tt.ip, i+1)), time.Now()
					s.Replies[c.ID] = r.answers(c.ID, tt.takes)
					s.Know(c)
				}
				time.Sleep(DefaultHandOverDelay + time.Second)
				time.Sleep(2 * time.Hour)
				r.mu.Lock()
				defer r.mu.Unlock()
				if tt.most == 0 {
					require.Greater(t, r.most, handOversPerGroup)
				} else {
					require.LessOrEqual(t, r.most, tt.most)
				}
				require.Len(t, r.served, newcomers)
				for _, n := range r.served {
					require.GreaterOrEqual(t, n, count, "all of it, in the end")
				}
			})
		})
	}
}
