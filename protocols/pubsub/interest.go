package pubsub

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
)

const (
	// freshFor is for how long it is believed who has subscribed elsewhere, where
	// somebody asks for it.
	freshFor = 5 * time.Second
	// lookupTime is how long a lookup may take, and a first message waits for it.
	lookupTime = 3 * time.Second
	// lookupsWaiting is how many lookups wait for their turn.
	lookupsWaiting = 1024
)

// interest is who has subscribed under a name, elsewhere: what lookups found, and beside
// that what is stored here.
type interest struct {
	topics *Topics
	key    []byte

	mu      sync.Mutex
	checked time.Time // when it was looked what is stored here
	here    []node
	looked  time.Time // when it was looked up the last time; zero for never
	there   []node
	looking bool
	waits   []func() // for the first time
}

func (t *Topics) newInterest(name string) *interest {
	return &interest{topics: t, key: provider.Key(name)}
}

// subscribers returns who is known to have subscribed, and whether it was ever looked up;
// else whenKnown is called once it was, not before subscribers returns, unless it is nil.
// What is not fresh is looked up in the background.
func (i *interest) subscribers(now time.Time, whenKnown func()) (nodes []node, known bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now.Sub(i.checked) >= checkEvery {
		i.checked = now
		i.here = i.topics.nodesOf(i.topics.storedHere(i.key))
	}
	if !i.looking && now.Sub(i.looked) >= freshFor {
		i.looking = i.topics.lookups.begin(i)
		if !i.looking {
			i.looked = now // there is too much to do: what is known has to do
		}
	}
	known = !i.looked.IsZero()
	if !known && whenKnown != nil {
		i.waits = append(i.waits, whenKnown)
	}
	nodes = append(nodes, i.here...)
	return addNodes(nodes, i.there), known
}

// done notes what came of a lookup.
func (i *interest) done(found []node, err error) {
	i.mu.Lock()
	i.looked, i.looking = time.Now(), false
	switch {
	case err == nil, len(found) > 0, errors.Is(err, maculadht.ErrNotFound), errors.Is(err, maculadht.ErrNoPeers):
		i.there = found
	default: // nobody answered: they may be there still
	}
	waits := i.waits
	i.waits = nil
	i.mu.Unlock()
	for _, f := range waits {
		f()
	}
}

// lookups looks names up, a few at a time.
type lookups struct {
	topics *Topics
	queue  chan *interest
	pace   *rate.Limiter
}

func (t *Topics) newLookups() *lookups {
	l := &lookups{topics: t, queue: make(chan *interest, lookupsWaiting), pace: rate.NewLimiter(rate.Limit(t.cfg.limits.LookupsRate), t.cfg.limits.LookupsRate)}
	for range t.cfg.limits.Lookups {
		t.tasks.Go(l.run)
	}
	return l
}

// begin has a name looked up, and reports whether it will be.
func (l *lookups) begin(i *interest) bool {
	select {
	case l.queue <- i:
		return true
	default:
		return false
	}
}

func (l *lookups) run() {
	for {
		select {
		case i := <-l.queue:
			if l.pace.Wait(l.topics.ctx) != nil {
				return
			}
			l.look(i)
		case <-l.topics.ctx.Done():
			return
		}
	}
}

func (l *lookups) look(i *interest) {
	ctx, cancel := context.WithTimeout(l.topics.ctx, lookupTime)
	defer cancel()
	found, err := l.topics.service.FindPeerValues(ctx, i.key)
	l.topics.count.lookups.Add(1)
	i.done(l.topics.nodesOf(found.Values), err)
}
