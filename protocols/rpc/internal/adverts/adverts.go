// Package adverts advertises, in this node's name, the procedures that its clients have
// registered.
package adverts

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/internal/fair"
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
	wanted map[string]*fair.Item[string]
	places *fair.Queue[string]
}

// maxAdverts is how many procedures of clients are advertised. More are called by who
// asks this node.
const maxAdverts = 1024

// New returns adverts of a service, none yet. Close them.
func New(service *maculadht.Service, log *slog.Logger) *Adverts {
	a := &Adverts{service: service, log: log, wake: make(chan struct{}, 1), ended: make(chan map[string]*maculadht.Advertisement, 1), wanted: make(map[string]*fair.Item[string]), places: fair.New[string](maxAdverts, fair.Unlimited)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	go a.run()
	return a
}

// withdrawWithin is for how long Close waits until others know.
const withdrawWithin = time.Second

// Close ends it, and withdraws what is advertised, with what more withdraws something, all
// at once. What takes longer than a second goes on until the service is closed.
func (a *Adverts) Close(more []func() error) error {
	a.cancel()
	all := more
	for _, advertised := range <-a.ended {
		all = append(all, advertised.Withdraw)
	}
	done := make(chan error, len(all))
	for _, f := range all {
		go func() { done <- f() }()
	}
	late := time.NewTimer(withdrawWithin)
	defer late.Stop()
	var errs []error
	for range all {
		select {
		case err := <-done:
			errs = append(errs, err)
		case <-late.C:
			return errors.Join(errs...)
		}
	}
	return errors.Join(errs...)
}

// Add has a procedure advertised for who pays. Where there are too many the newest of who has
// most gives way. It returns at once; what fails is logged.
func (a *Adverts) Add(by fair.Payer, procedure string) {
	a.mu.Lock()
	if a.wanted[procedure] == nil {
		came := a.places.Add(by, procedure, 1)
		a.wanted[procedure] = came
		if out := a.places.GiveWay(came, false); out != nil {
			delete(a.wanted, out.Value)
		}
	}
	a.mu.Unlock()
	a.look()
}

// Drop has it withdrawn.
func (a *Adverts) Drop(procedure string) {
	a.mu.Lock()
	if place := a.wanted[procedure]; place != nil {
		a.places.Leave(place)
		delete(a.wanted, procedure)
	}
	a.mu.Unlock()
	a.look()
}

// look has run see what is wanted.
func (a *Adverts) look() {
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
				a.Drop(procedure)
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
		if a.wanted[procedure] == nil {
			drop = append(drop, procedure)
		}
	}
	return add, drop
}
