package admission

import (
	"net/netip"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// clock is what a peer's clock showed; the zero value is of one that has told nothing.
type clock struct {
	showed time.Time    // on it, in the middle between question and answer
	at     time.Time    // on ours then, with the monotonic reading that setting a clock does not change
	group  netip.Prefix // of the peer; invalid where it is in none
}

// ahead returns by how much our clock is ahead of it by now.
func (c *clock) ahead() time.Duration {
	now := time.Now()
	return now.Round(0).Sub(c.showed.Add(now.Sub(c.at)))
}

// noteClock keeps what a PONG tells of its sender's clock.
func (a *Admission) noteClock(from *routing.Contact, pong *wire.Pong, asked time.Time) {
	if !pong.ServerTime.Set {
		return
	}
	c := clock{showed: wire.TimeOfMilli(pong.ServerTime.V), at: asked.Add(time.Since(asked) / 2), group: a.routing.Group(*from)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if ps := a.sessions[from.Peer]; ps != nil {
		ps.clock = c
	}
}

// ClockAhead returns by how much this machine's clock is ahead of those of the peers that
// are connected: the median, as peers may be wrong or lie; less than 0 where it is behind.
// Peers of one IP group have one voice together, and of voices there are so many.
func (a *Admission) ClockAhead() (ahead time.Duration, voices int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []time.Duration
	seen := map[netip.Prefix]bool{}
	for _, ps := range a.sessions {
		switch c := &ps.clock; {
		case c.at.IsZero() || seen[c.group]:
		default:
			seen[c.group] = c.group.IsValid()
			all = append(all, c.ahead())
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], len(all)
}
