package upkeep

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// life is what asking a contact for a sign of life came to.
type life uint8

const (
	unknown life = iota // it was not asked, or the asking was ended
	alive
	failed
)

// ping asks a contact for a sign of life, and notes in the table that it gave one.
func (u *Upkeep) ping(c routing.Contact) life {
	select {
	case u.pings <- struct{}{}:
		defer func() { <-u.pings }()
	case <-u.ctx.Done():
		return unknown
	}
	_, err := u.lookups.Query(u.ctx, c, &wire.Ping{Timestamp: wire.Some(time.Now().UnixMilli())})
	switch {
	case err == nil:
		u.server.Table().Alive(c.ID, time.Now())
		return alive
	case u.ctx.Err() != nil, errors.Is(err, proto.ErrResting), !lookup.AtFault(err):
		return unknown
	}
	return failed
}

// challenge asks the oldest contact of a full bucket for a sign of life, as often
// as it takes to know. A bucket is challenged once at a time, however many are
// turned away. Its failures too are noted only if anybody is heard.
func (u *Upkeep) challenge(bucket int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, there := u.challenged[bucket]; there {
		return
	}
	u.challenged[bucket] = struct{}{}
	u.tasks.Go(func() {
		defer func() {
			u.mu.Lock()
			defer u.mu.Unlock()
			delete(u.challenged, bucket)
		}()
		for {
			oldest, replacements := u.server.Table().LeastRecentlySeen(bucket)
			if len(replacements) == 0 {
				return // nobody waits any more
			}
			if spoke := time.Since(oldest.LastSeen); spoke < u.cfg.retry {
				if !u.sleep(u.cfg.retry - spoke) {
					return
				}
				continue
			}
			if u.ping(oldest) != failed || !u.hears(replacements, routing.ID{}) && !u.hears(u.server.Table().All(), oldest.ID) {
				return
			}
			if u.server.Table().Failed(oldest.ID) || !u.sleep(u.cfg.retry) {
				return
			}
		}
	})
}

// checkSilent asks those for a sign of life who have been silent for long, who did
// not answer the last time, and whom a lookup did not wait for. Their failures are
// noted only if anybody is heard.
func (u *Upkeep) checkSilent() {
	var silent, others []routing.Contact
	for _, c := range u.server.Table().All() {
		if c.Doubtful() || time.Since(c.LastSeen) >= u.cfg.idle {
			silent = append(silent, c)
		} else {
			others = append(others, c)
		}
	}
	others = append(others, u.server.Table().Replacements()...)
	heard, failures := u.pingAll(silent)
	if len(failures) > 0 && !heard && !u.hears(others, routing.ID{}) {
		return
	}
	for _, id := range failures {
		u.server.Table().Failed(id)
	}
}

// pingAll asks contacts for a sign of life and reports whether any gave one, and
// which did not.
func (u *Upkeep) pingAll(contacts []routing.Contact) (heard bool, failures []routing.ID) {
	var round sync.WaitGroup
	var mu sync.Mutex
	for _, c := range contacts {
		round.Go(func() {
			l := u.ping(c)
			mu.Lock()
			defer mu.Unlock()
			heard = heard || l == alive
			if l == failed {
				failures = append(failures, c.ID)
			}
		})
	}
	round.Wait()
	return heard, failures
}

// witnesses is how many contacts are asked whether it is this node that is cut
// off.
const witnesses = pingsAtOnce

// hears reports whether any of a few contacts but one gives a sign of life. They
// are picked at random: who spoke last could be those who want nobody blamed.
func (u *Upkeep) hears(contacts []routing.Contact, but routing.ID) bool {
	rand.Shuffle(len(contacts), func(i, j int) { contacts[i], contacts[j] = contacts[j], contacts[i] })
	contacts = slices.DeleteFunc(contacts, func(c routing.Contact) bool { return c.ID == but })
	heard, _ := u.pingAll(contacts[:min(len(contacts), witnesses)])
	return heard
}
