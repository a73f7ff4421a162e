package routing

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// life is what asking a contact for a sign of life came to.
type life uint8

const (
	unknown life = iota // it was not asked, or the asking was ended
	alive
	failed
)

// ping asks a contact for a sign of life, and notes in the table that it gave one.
func (u *Upkeep) ping(c Contact) life {
	select {
	case u.pings <- struct{}{}:
		defer func() { <-u.pings }()
	case <-u.ctx.Done():
		return unknown
	}
	ctx, cancel := context.WithTimeout(u.ctx, u.cfg.query)
	defer cancel()
	_, err := u.lookups.query(ctx, c, &wire.Ping{Timestamp: wire.Some(time.Now().UnixMilli())})
	switch {
	case err == nil:
		u.server.table.Alive(c.ID, time.Now())
		return alive
	case u.ctx.Err() != nil, errors.Is(err, proto.ErrResting), !atFault(err):
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
			oldest, waiting := u.server.table.oldest(bucket)
			if len(waiting) == 0 {
				return // nobody waits any more
			}
			if spoke := time.Since(oldest.LastSeen); spoke < u.cfg.retry {
				if !u.sleep(u.cfg.retry - spoke) {
					return
				}
				continue
			}
			if u.ping(oldest) != failed || !u.hears(waiting, ID{}) && !u.hears(u.server.table.All(), oldest.ID) {
				return
			}
			if u.server.table.Failed(oldest.ID) || !u.sleep(u.cfg.retry) {
				return
			}
		}
	})
}

// checkSilent asks those for a sign of life who have been silent for long, who did
// not answer the last time, and whom a lookup did not wait for. Their failures are
// noted only if anybody is heard.
func (u *Upkeep) checkSilent() {
	var silent, others []Contact
	for _, c := range u.server.table.All() {
		if c.failures > 0 || c.doubted || time.Since(c.LastSeen) >= u.cfg.idle {
			silent = append(silent, c)
		} else {
			others = append(others, c)
		}
	}
	others = append(others, u.server.table.allWaiting()...)
	heard, failures := u.pingAll(silent)
	if len(failures) > 0 && !heard && !u.hears(others, ID{}) {
		return
	}
	for _, id := range failures {
		u.server.table.Failed(id)
	}
}

// pingAll asks contacts for a sign of life and reports whether any gave one, and
// which did not.
func (u *Upkeep) pingAll(contacts []Contact) (heard bool, failures []ID) {
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
func (u *Upkeep) hears(contacts []Contact, but ID) bool {
	rand.Shuffle(len(contacts), func(i, j int) { contacts[i], contacts[j] = contacts[j], contacts[i] })
	contacts = slices.DeleteFunc(contacts, func(c Contact) bool { return c.ID == but })
	heard, _ := u.pingAll(contacts[:min(len(contacts), witnesses)])
	return heard
}
