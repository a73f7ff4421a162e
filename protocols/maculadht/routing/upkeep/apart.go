package upkeep

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// apartAtOnce is how many are served apart at a time, with one record on its way
	// each, and apartTurn for how long where others wait.
	apartAtOnce = 4
	apartTurn   = 2 * time.Minute
	// apartShare is which part of what is handed over a second those get together.
	apartShare = 4
)

// one is a newcomer with its id.
type one struct {
	routing.ID
	*newcomer
}

// setApart has a newcomer served apart; the caller holds mu.
func (u *Upkeep) setApart(n one) {
	if len(u.apart) < maxNewcomers && !slices.ContainsFunc(u.apart, func(o one) bool { return o.ID == n.ID }) {
		u.apart = append(u.apart, n)
		signal(u.waiting)
	}
}

// serveApart hands records over to those that would hold up others, one after the
// other. Whose turn is over begins anew, at another place of the store, if nobody
// waits for longer.
func (u *Upkeep) serveApart() {
	slots := make(chan struct{}, 1)
	for {
		select {
		case <-u.ctx.Done():
			return
		case <-u.waiting:
		}
		next, some := u.nextApart()
		if !some {
			continue
		}
		scan := u.turn(next, slots)
		u.doneApart(next)
		if !u.sleep(restAfterScan * scan) {
			return
		}
	}
}

// turn serves one newcomer apart, for apartTurn once others wait. It returns for how
// long the store was gone through.
func (u *Upkeep) turn(n one, slots chan struct{}) time.Duration {
	ctx, end := context.WithCancel(u.ctx)
	defer end()
	over := make(chan struct{})
	defer close(over)
	u.tasks.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(apartTurn):
			}
			u.mu.Lock()
			others := len(u.apart) > 0
			u.mu.Unlock()
			if others {
				end()
				return
			}
		}
	})
	n.late.Store(math.MinInt64 / 2) // it holds up nobody here
	scan := u.handOverTo(ctx, map[routing.ID]*newcomer{n.ID: n.newcomer}, slots, u.apartBytes)
	if ctx.Err() != nil && !n.leftAlone() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.setApart(n)
	}
	return scan
}
