package publication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
)

// firstRepublish is how soon what failed is tried again, doubled each time.
const firstRepublish = time.Second

// resumedRate is how many publications a second begin of those that waited for
// somebody to publish to.
const resumedRate = 25

// schedule is when something is done the next time.
type schedule struct {
	next  time.Time
	pause time.Duration // until it is tried again, should it fail
}

// plan notes how what began at a time went.
func (d *schedule) plan(began time.Time, err error, ttl time.Duration) {
	wait := republishAfter(ttl)
	if err == nil {
		d.pause = firstRepublish
	} else {
		wait = min(wait, d.pause)
		d.pause = 2 * wait // not of itself, which would grow out of an int64
	}
	d.next = began.Add(wait)
}

// run publishes until it is withdrawn. What is kept here and what is put elsewhere
// have schedules of their own: a full disk is no reason to be gone from the network.
// Where nobody is known yet to whom it could be, a publication waits for its turn after
// somebody is.
func (p *Publisher) run(pub *publication, here schedule, waits bool) {
	there := schedule{pause: firstRepublish}
	reached := sync.OnceFunc(func() { close(pub.published) })
	for pub.ctx.Err() == nil {
		c := pub.now()
		if start := time.Now(); !start.Before(here.next) {
			ctx, cancel := context.WithTimeout(pub.ctx, diskPatience)
			var err error
			c, err = p.keep(ctx, c)
			unsaved := p.save(ctx, pub)
			cancel()
			if pub.ctx.Err() != nil {
				return
			}
			p.noteKept(pub, err, unsaved)
			here.plan(start, errors.Join(err, unsaved), pub.base.TTL)
		}
		if start := time.Now(); !waits && !start.Before(there.next) {
			alone := !p.hasMet()
			replicas, err := p.replicate(pub.ctx, c)
			if pub.ctx.Err() != nil {
				return
			}
			p.cfg.Published(acknowledged(replicas), err)
			pub.mu.Lock()
			pub.last, pub.err = replicas, err
			pub.mu.Unlock()
			there.plan(start, err, pub.base.TTL)
			waits = err != nil && alone
			if err == nil {
				reached()
			}
		}
		next := here.next
		if !waits && there.next.Before(next) {
			next = there.next
		}
		var met <-chan struct{}
		if waits {
			met = p.met
		}
		select {
		case <-time.After(time.Until(next)):
		case <-met:
			waits = false
			there.next = time.Now().Add(p.turns.Reserve().Delay())
		case <-pub.ctx.Done():
		}
	}
}

// Met tells the publisher that another node is known: what waited for one is published
// from then on, one after the other.
func (p *Publisher) Met() { p.haveMet() }

func (p *Publisher) hasMet() bool {
	select {
	case <-p.met:
		return true
	default:
		return false
	}
}

// noteKept logs that a record could not be kept here, or not saved.
func (p *Publisher) noteKept(pub *publication, err, unsaved error) {
	key := fmt.Sprintf("%x", pub.key)
	if err != nil {
		p.cfg.Log.Warn("an advertised record could not be kept here, and is tried again", "key", key, "err", err)
	}
	if unsaved != nil {
		p.cfg.Log.Warn("an advertisement could not be saved for after a restart, and is tried again", "key", key, "err", unsaved)
	}
}

func acknowledged(r *replication.Replicas) int {
	if r == nil {
		return 0
	}
	return len(r.Acknowledged)
}

// republishAfter returns when to publish a value again: at 80 % of its life, or up
// to a tenth of that earlier.
func republishAfter(ttl time.Duration) time.Duration {
	after := ttl * 8 / 10
	return after - rand.N(after/10)
}
