// Package adverts advertises, in this node's name, the procedures that its clients have
// registered.
package adverts

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// Adverts are the procedures that are advertised, or are about to be. They are safe for
// concurrent use.
type Adverts struct {
	service *maculadht.Service
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wake    chan struct{}
	ended   chan map[string]*maculadht.Advertisement // has what was advertised at the end

	mu     sync.Mutex
	wanted map[string]bool
}

// maxAdverts is how many procedures of clients are advertised. More are called by who
// asks this node.
const maxAdverts = 1024

// New returns adverts of a service, none yet. Close them.
func New(service *maculadht.Service, log *slog.Logger) *Adverts {
	a := &Adverts{service: service, log: log, wake: make(chan struct{}, 1), ended: make(chan map[string]*maculadht.Advertisement, 1), wanted: make(map[string]bool)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	go a.run()
	return a
}

// Close ends it, and returns what is advertised, to be withdrawn.
func (a *Adverts) Close() []*maculadht.Advertisement {
	a.cancel()
	return slices.Collect(maps.Values(<-a.ended))
}

// Add has a procedure advertised. It returns at once; what fails is logged.
func (a *Adverts) Add(procedure string) { a.want(procedure, true) }

// Drop has it withdrawn.
func (a *Adverts) Drop(procedure string) { a.want(procedure, false) }

func (a *Adverts) want(procedure string, yes bool) {
	a.mu.Lock()
	if yes && len(a.wanted) < maxAdverts {
		a.wanted[procedure] = true
	} else if !yes {
		delete(a.wanted, procedure)
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run makes what is advertised what is wanted.
func (a *Adverts) run() {
	made := make(map[string]*maculadht.Advertisement)
	for {
		select {
		case <-a.wake:
		case <-a.ctx.Done():
			a.ended <- made
			return
		}
		add, drop := a.compare(made)
		for _, procedure := range drop {
			go a.withdraw(procedure, made[procedure]) // which waits until others know; the service's end ends it
			delete(made, procedure)
		}
		for _, procedure := range add {
			if advert, _ := a.advertise(procedure); advert != nil {
				made[procedure] = advert
			} else {
				a.want(procedure, false)
			}
		}
	}
}

func (a *Adverts) withdraw(procedure string, advert *maculadht.Advertisement) {
	if err := advert.Withdraw(); err != nil {
		a.log.Warn("a procedure that nobody serves any more is not withdrawn", "procedure", procedure, "err", err)
	}
}

func (a *Adverts) advertise(procedure string) (*maculadht.Advertisement, error) {
	made, err := a.service.AdvertiseService(a.ctx, maculadht.Offer{Name: procedure, Brief: true})
	if err != nil {
		a.log.Warn("a procedure that a client serves is not advertised as it should", "procedure", procedure, "err", err)
	}
	return made, err
}

func (a *Adverts) compare(made map[string]*maculadht.Advertisement) (add, drop []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for procedure := range a.wanted {
		if made[procedure] == nil {
			add = append(add, procedure)
		}
	}
	for procedure := range made {
		if !a.wanted[procedure] {
			drop = append(drop, procedure)
		}
	}
	return add, drop
}
