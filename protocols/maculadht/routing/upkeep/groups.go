package upkeep

import (
	"net/netip"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// handOversPerGroup is how many newcomers of one IP group are served at a time, and as
// many apart: a node id is free, and each could have all that is stored here sent to it.
const handOversPerGroup = 2

// groupCounts counts newcomers that are being served by their IP group, those in none
// not at all.
type groupCounts map[netip.Prefix]int

// take counts one more, and reports false where there are as many as may be.
func (n groupCounts) take(group netip.Prefix) bool {
	if !group.IsValid() {
		return true
	}
	if n[group] >= handOversPerGroup {
		return false
	}
	n[group]++
	return true
}

// give counts one less.
func (n groupCounts) give(group netip.Prefix) {
	if !group.IsValid() {
		return
	}
	if n[group]--; n[group] == 0 {
		delete(n, group)
	}
}

// servedAll tells that newcomers have been served, so that others of their groups are.
func (u *Upkeep) servedAll(newcomers map[routing.ID]*newcomer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, n := range newcomers {
		u.serving.give(n.group)
	}
	if len(u.newcomers) > 0 {
		signal(u.arrived)
		signal(u.returned)
	}
}

// nextApart takes the newcomer that waits for longest to be served apart, and of whose
// IP group not too many are.
func (u *Upkeep) nextApart() (next one, some bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, n := range u.apart {
		if u.servingApart.take(n.group) {
			u.apart = append(u.apart[:i:i], u.apart[i+1:]...)
			if len(u.apart) > 0 {
				signal(u.waiting)
			}
			return n, true
		}
	}
	return one{}, false
}

// doneApart tells that one has been served apart.
func (u *Upkeep) doneApart(n one) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.servingApart.give(n.group)
	if len(u.apart) > 0 {
		signal(u.waiting)
	}
}
