package maculadht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
)

// firstRepublish is how soon what failed is tried again, doubled each time.
const firstRepublish = time.Second

// ErrAdvertised: this node advertises another value under the key for the same
// provider. Under one key a provider has one record, so the two would replace each
// other in turn; withdraw the first, or offer the second under another name.
var ErrAdvertised = errors.New("another value is advertised under the key")

// Advertisement is a record that is published again and again until it is
// withdrawn.
type Advertisement struct {
	service     *Service
	publication *publication
	withdraw    sync.Once
}

// publicationName is what one publication is of: under a key a provider has one.
type publicationName struct {
	key      string
	provider string // its node_id; of a value without one, all of that
}

// publication is what advertisements of one value share.
type publication struct {
	name publicationName
	key  []byte
	base wire.Value              // by which two are the same
	now  func() replication.Copy // what is published, as it is at the moment

	started chan struct{} // closed once it is kept here, or could not begin
	failed  error         // why it could not begin
	ctx     context.Context
	stop    context.CancelFunc
	done    chan struct{}
	users   int // advertisements; guarded by Service.mu

	published chan struct{}

	mu   sync.Mutex
	last *Replicas
	err  error
}

// Advertise keeps a value alive here and on the nodes nearest to its key, until it
// is withdrawn or the service is closed; ctx bounds no more than this call. It is
// stored as by Store, and stored again when 80 % of its ttl are over, or a little
// earlier so that not all nodes do so at once. What failed, be it here or there, is
// tried again after a second, and then ever less often.
//
// The value is kept here when Advertise returns, unless the store fails, which is
// logged; the rest happens in the background, see Published. A value that can not be
// stored is an ErrInvalidRequest. One that is advertised already is shared, and lives
// until the last has withdrawn it; where another value of the same provider (its
// node_id) is, the error is ErrAdvertised.
func (s *Service) Advertise(ctx context.Context, key []byte, raw wire.Raw) (*Advertisement, error) {
	value, err := checkValue(key, raw)
	if err != nil {
		return nil, err
	}
	key = bytes.Clone(key)
	return s.advertise(ctx, key, value, func() replication.Copy { return replication.Copy{Key: key, Value: value} })
}

// advertise publishes what now returns, which is base but for what changes with the
// time.
func (s *Service) advertise(ctx context.Context, key []byte, base wire.Value, now func() replication.Copy) (*Advertisement, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, mine, err := s.publicationOf(key, base, now)
		switch {
		case err != nil:
			return nil, err
		case mine:
			return s.begins(ctx, p)
		}
		select {
		case <-p.started:
		case <-ctx.Done():
			s.leave(p)
			return nil, ctx.Err()
		}
		if p.failed == nil && p.ctx.Err() == nil {
			return &Advertisement{service: s, publication: p}, nil
		}
		s.leave(p) // it has just been withdrawn, or could not begin
	}
}

// publicationOf returns the publication of a value, with one user more, and whether
// it is new, and so to be begun.
func (s *Service) publicationOf(key []byte, base wire.Value, now func() replication.Copy) (p *publication, isNew bool, err error) {
	identity := base.NodeID
	if identity == nil { // values without one are told apart by all that they say
		identity = base.Raw
	}
	name := publicationName{string(key), string(identity)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, proto.ErrClosed
	}
	if p := s.publications[name]; p != nil && p.ctx.Err() == nil {
		if !bytes.Equal(p.base.Raw, base.Raw) {
			return nil, false, fmt.Errorf("%w: %x", ErrAdvertised, key)
		}
		p.users++
		return p, false, nil
	}
	p = &publication{key: key, name: name, base: base, now: now, users: 1,
		started: make(chan struct{}), done: make(chan struct{}), published: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(s.ctx)
	s.publications[name] = p
	return p, true, nil
}

// begins keeps a new publication's value here and has it published.
func (s *Service) begins(ctx context.Context, p *publication) (*Advertisement, error) {
	defer close(p.started)
	here := schedule{pause: firstRepublish}
	c := p.now()
	err := s.keep(ctx, c.Key, c.Value)
	if isFinal(err) {
		p.failed = err
	} else {
		s.noteKept(p, err)
		here.plan(time.Now(), err, p.base.TTL)
		p.failed = s.spawn(func(context.Context) {
			defer close(p.done)
			p.run(s, here)
		})
	}
	if p.failed != nil {
		s.leave(p)
		return nil, p.failed
	}
	return &Advertisement{service: s, publication: p}, nil
}

// leave takes a user off a publication, the last of which ends it, and reports
// whether it was the last.
func (s *Service) leave(p *publication) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.users--; p.users > 0 {
		return false
	}
	p.stop()
	if s.publications[p.name] == p {
		delete(s.publications, p.name)
	}
	return true
}

// Withdraw ends the advertisement: the record is not published any more, and is
// gone everywhere when its ttl is over. Withdrawing again does nothing. Where the same
// value was advertised more than once, the last to withdraw it ends it.
func (a *Advertisement) Withdraw() {
	a.withdraw.Do(func() {
		if a.service.leave(a.publication) {
			<-a.publication.done
		}
	})
}

// Published is closed once another node has the record.
func (a *Advertisement) Published() <-chan struct{} { return a.publication.published }

// Last returns what the last publication came to, as Store does; both are nil
// until the first one is over.
func (a *Advertisement) Last() (*Replicas, error) {
	p := a.publication
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.err
}

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
func (p *publication) run(s *Service, here schedule) {
	there := schedule{pause: firstRepublish}
	reached := sync.OnceFunc(func() { close(p.published) })
	for p.ctx.Err() == nil {
		c := p.now()
		if start := time.Now(); !start.Before(here.next) {
			err := s.keep(p.ctx, c.Key, c.Value)
			if p.ctx.Err() != nil {
				return
			}
			s.noteKept(p, err)
			here.plan(start, err, p.base.TTL)
		}
		if start := time.Now(); !start.Before(there.next) {
			replicas, err := replication.Replicate(p.ctx, s.routing, s.lookups, s.network, c)
			if p.ctx.Err() != nil {
				return
			}
			s.tracer.Published(acknowledged(replicas), err)
			p.mu.Lock()
			p.last, p.err = replicas, err
			p.mu.Unlock()
			there.plan(start, err, p.base.TTL)
			if err == nil {
				reached()
			}
		}
		next := here.next
		if there.next.Before(next) {
			next = there.next
		}
		select {
		case <-time.After(time.Until(next)):
		case <-p.ctx.Done():
		}
	}
}

// noteKept logs that a record could not be kept here.
func (s *Service) noteKept(p *publication, err error) {
	if err != nil {
		s.log.Warn("an advertised record could not be kept here, and is tried again", "key", fmt.Sprintf("%x", p.key), "err", err)
	}
}

func acknowledged(r *Replicas) int {
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
