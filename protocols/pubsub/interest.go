package pubsub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
)

const (
	// freshFor is for how long it is believed who has subscribed elsewhere, where
	// somebody asks for it.
	freshFor = 5 * time.Second
	// lookupTime is how long a lookup may take, and a first message waits for it.
	lookupTime = 3 * time.Second
	// lookupsWaiting is how many lookups wait for their turn, by who publishes.
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
func (i *interest) subscribers(now time.Time, by fair.Payer, whenKnown func()) (nodes []node, known bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now.Sub(i.checked) >= checkEvery {
		i.checked = now
		i.here = i.topics.nodesOf(i.topics.storedHere(i.key))
	}
	if !i.looking && now.Sub(i.looked) >= freshFor {
		i.looking = true
		gaveWay := i.topics.lookups.Add(by, i)
		switch {
		case gaveWay == i:
			i.looking, i.looked = false, now // there is too much to do: what is known has to do
		case gaveWay != nil:
			i.topics.tasks.Go(func() { gaveWay.done(nil, errGaveWay) }) // which takes its own lock, and its topics'
		}
	}
	known = !i.looked.IsZero()
	if !known && whenKnown != nil {
		i.waits = append(i.waits, whenKnown)
	}
	nodes = append(nodes, i.here...)
	return addNodes(nodes, i.there), known
}

// errGaveWay: a lookup was not made, for others.
var errGaveWay = errors.New("too many topics are looked up")

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

func (i *interest) look() {
	t := i.topics
	ctx, cancel := context.WithTimeout(t.ctx, lookupTime)
	defer cancel()
	found, err := t.service.FindPeerValues(ctx, i.key)
	t.count.lookups.Add(1)
	i.done(t.nodesOf(found.Values), err)
}
