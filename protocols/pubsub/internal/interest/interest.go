// Package interest knows which other nodes have subscribed under a name, by the records
// that stand there.
package interest

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/recent"
)

const (
	// CheckEvery is how often it is looked who has stored a record here, where somebody
	// asks for it.
	CheckEvery = 250 * time.Millisecond
	// freshFor is for how long it is believed who has subscribed elsewhere.
	freshFor = 5 * time.Second
	// lookupTime is how long a lookup may take, and a first message waits for it.
	lookupTime = 3 * time.Second
	// lookupsWaiting is how many turns at lookups wait, of all who publish.
	lookupsWaiting = 1024
)

// Service is what of a [maculadht.Service] Interests ask.
type Service interface {
	FindPeerValues(ctx context.Context, key []byte) (*lookup.Found, error)
	Routing() *routing.Server
}

// Config is what Interests work with.
type Config struct {
	Service Service
	// Spawn runs something in a goroutine, and reports false where no more is to begin.
	Spawn func(func(context.Context)) bool
	// Names is how many are remembered; Lookups how many lookups run at a time, LookupsRate
	// how many a second begin.
	Names, Lookups, LookupsRate int
}

// Interests are who has subscribed under the names that somebody asked for last. They are
// safe for concurrent use.
type Interests struct {
	cfg   Config
	cache *recent.Cache[Interest]
	line  *fair.Line // of lookups
	pace  *rate.Limiter
}

// New returns Interests of which nothing is known yet.
func New(cfg Config) *Interests {
	all := &Interests{
		cfg: cfg, line: fair.NewLine(cfg.Lookups, lookupsWaiting),
		pace: rate.NewLimiter(rate.Limit(cfg.LookupsRate), cfg.LookupsRate),
	}
	all.cache = recent.New(cfg.Names, func(name string) *Interest { return &Interest{all: all, key: provider.Key(name)} })
	return all
}

// Of returns who has subscribed under a name.
func (all *Interests) Of(name string) *Interest { return all.cache.Get(name) }

// Interest is who has subscribed under a name, elsewhere: what lookups found, and beside
// that what is stored here. It is safe for concurrent use.
type Interest struct {
	all *Interests
	key []byte

	mu      sync.Mutex
	checked time.Time // when it was looked what is stored here
	here    []Node
	looked  time.Time // when it was looked up the last time; zero for never
	there   []Node
	looking *fair.Once // a lookup that has not ended; nil for none
	waits   []Waiter
}

// Waiter waits until it is known for the first time who has subscribed. It is told by other
// goroutines.
type Waiter interface {
	// Known is called once.
	Known()
	// GaveWay is called where that was not looked up for a payer, as too much is, and most
	// of it for that one's network. What others want is looked up all the same.
	GaveWay(by fair.Payer)
}

// Await has somebody told when it is known who has subscribed, and reports false where it
// is.
func (i *Interest) Await(w Waiter) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.looked.IsZero() {
		return false
	}
	i.waits = append(i.waits, w)
	return true
}

// Nodes returns who is known to have subscribed. They must not be modified.
func (i *Interest) Nodes(now time.Time) []Node {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now.Sub(i.checked) >= CheckEvery {
		i.checked = now
		i.here = i.all.nodesOf(i.all.storedHere(i.key))
	}
	return AddNodes(AddNodes(nil, i.here), i.there)
}

// Want has it looked up for a payer, unless what is known is fresh: at the turn of whoever
// wants it and has the first. It does not wait, and calls nobody.
func (i *Interest) Want(now time.Time, by fair.Payer) {
	i.mu.Lock()
	if i.looking == nil && now.Sub(i.looked) >= freshFor {
		i.looking = i.newLookup()
	}
	looking := i.looking
	i.mu.Unlock()
	if looking != nil {
		looking.Want(by)
	}
}

func (i *Interest) newLookup() *fair.Once {
	spawn := i.all.cfg.Spawn
	return fair.NewOnce(i.all.line, func(leave func()) {
		if !spawn(func(ctx context.Context) {
			defer leave()
			i.look(ctx)
		}) {
			leave()
		}
	}, func(by fair.Payer) {
		spawn(func(context.Context) { i.gaveWay(by) })
	})
}

func (i *Interest) gaveWay(by fair.Payer) {
	i.mu.Lock()
	waits := i.waits[:len(i.waits):len(i.waits)]
	i.mu.Unlock()
	for _, w := range waits {
		w.GaveWay(by)
	}
}

func (i *Interest) look(ctx context.Context) {
	if i.all.pace.Wait(ctx) != nil {
		return // all ends
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found, err := i.all.cfg.Service.FindPeerValues(ctx, i.key)
	i.done(i.all.nodesOf(foundThere(found.Values)), err)
}

// done notes what came of a lookup.
func (i *Interest) done(found []Node, err error) {
	i.mu.Lock()
	i.looked, i.looking = time.Now(), nil
	switch {
	case err == nil, len(found) > 0, errors.Is(err, maculadht.ErrNotFound), errors.Is(err, maculadht.ErrNoPeers):
		i.there = found
	default: // nobody answered: they may be there still
	}
	waits := i.waits
	i.waits = nil
	i.mu.Unlock()
	for _, w := range waits {
		w.Known()
	}
}
