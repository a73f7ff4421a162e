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

const (
	// checkAfter is how long a contact that has become doubtful may take to speak by
	// itself before it is asked: one that is restarted connects again.
	checkAfter = 250 * time.Millisecond
	// checksAtOnce is how often a contact that has become doubtful is asked without a
	// pause.
	checksAtOnce = 3
)

// check asks a contact that has become doubtful for a sign of life, without waiting
// for the answer. Whoever gives none has failed once, and is asked again when the
// table is looked over; as is one that lives and closes its connections often.
func (u *Upkeep) check(c routing.Contact) {
	u.askOnce(u.checking, c.ID, checksAtOnce, u.cfg.check, func() {
		if !u.sleep(checkAfter) {
			return
		}
		c, there := u.server.Contact(c.ID)
		if !there || !c.Doubtful() {
			return
		}
		asked := time.Now()
		if u.ping(c) == failed && c.Failures() == 0 && (u.heardSince(asked, c.ID) || u.hears(u.server.Table().All(), c.ID)) {
			u.server.Table().Failed(c.ID, asked)
		}
	})
}

// Heard tells the upkeep that a peer is connected, or has asked us something. If it
// was dropped from the table (see [routing.Table.Dropped]) it is asked for a sign of
// life, and taken back if it gives one; not more often than every few seconds (see
// [WithChecks]). It returns at once.
func (u *Upkeep) Heard(id routing.ID) {
	if _, wasDropped := u.server.Table().Dropped(id); !wasDropped {
		return
	}
	u.askOnce(u.returning, id, 1, u.cfg.retry, func() {
		if c, wasDropped := u.server.Table().Dropped(id); wasDropped && u.ping(c) == alive {
			c.LastSeen = time.Now()
			_ = u.server.Admit(c) // the bucket may be full
		}
	})
}

// questions are those that contacts are asked for one reason, each with a token for
// being asked once more.
type questions map[routing.ID]chan struct{}

// askOnce runs what asks a contact in a goroutine of its own, unless that is being
// done: then it is done once more after that, and after a pause where it was done
// burst times already. That is forgotten after a pause in which nobody wants it.
func (u *Upkeep) askOnce(of questions, id routing.ID, burst int, pause time.Duration, ask func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if again, asking := of[id]; asking {
		signal(again)
		return
	}
	if u.ctx.Err() != nil || len(of) >= maxNewcomers {
		return
	}
	again := make(chan struct{}, 1)
	of[id] = again
	u.tasks.Go(func() {
		for times := 1; ; times++ {
			ask()
			if times >= burst && !u.sleep(pause) || !u.wanted(of, id, again, pause) {
				return
			}
		}
	})
}

// wanted waits until a contact is to be asked again, and reports whether it is. It
// forgets about it where that is not so after a pause.
func (u *Upkeep) wanted(of questions, id routing.ID, again <-chan struct{}, pause time.Duration) bool {
	select {
	case <-again:
		return true
	case <-u.ctx.Done():
		return false
	case <-time.After(pause):
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-again: // just now
		return true
	default:
		delete(of, id)
		return false
	}
}

// heardSince reports whether any contact but one has spoken since a time.
func (u *Upkeep) heardSince(since time.Time, but routing.ID) bool {
	return slices.ContainsFunc(u.server.Table().All(), func(c routing.Contact) bool {
		return c.ID != but && !c.LastSeen.Before(since)
	})
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
			asked := time.Now()
			if u.ping(oldest) != failed || !u.hears(replacements, routing.ID{}) && !u.hears(u.server.Table().All(), oldest.ID) {
				return
			}
			if u.server.Table().Failed(oldest.ID, asked) || !u.sleep(u.cfg.retry) {
				return
			}
		}
	})
}

// checkSilent asks those for a sign of life who have been silent for long, and who
// are doubtful still. Their failures are
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
	asked := time.Now()
	heard, failures := u.pingAll(silent)
	if len(failures) > 0 && !heard && !u.hears(others, routing.ID{}) {
		return
	}
	for _, id := range failures {
		u.server.Table().Failed(id, asked)
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
const witnesses = 8

// hears reports whether any of a few contacts but one gives a sign of life. They
// are picked at random: who spoke last could be those who want nobody blamed.
func (u *Upkeep) hears(contacts []routing.Contact, but routing.ID) bool {
	rand.Shuffle(len(contacts), func(i, j int) { contacts[i], contacts[j] = contacts[j], contacts[i] })
	contacts = slices.DeleteFunc(contacts, func(c routing.Contact) bool { return c.ID == but })
	heard, _ := u.pingAll(contacts[:min(len(contacts), witnesses)])
	return heard
}
