package publication

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

// subject is what is published under a key.
type subject struct {
	key  []byte
	base wire.Value              // by which two are the same
	now  func() replication.Copy // what is published, as it is at the moment
}

// subjectName is what a subject is one of: under a key a provider has one.
type subjectName struct {
	key      string
	provider string // its node_id; of a value without one, all of that
}

func (s *subject) name() subjectName {
	identity := s.base.NodeID
	if identity == nil { // values without one are told apart by all that they say
		identity = s.base.Raw
	}
	return subjectName{string(s.key), string(identity)}
}

// Advertisement is a record that is published again and again until it is
// withdrawn.
type Advertisement struct {
	publisher   *Publisher
	publication *publication
	withdraw    sync.Once
}

// publication is what advertisements of one value share.
type publication struct {
	subject

	started chan struct{} // closed once it is kept here, or could not begin
	failed  error         // why it could not begin
	ctx     context.Context
	stop    context.CancelFunc
	done    chan struct{}
	users   int // advertisements; guarded by Publisher.mu

	published chan struct{}

	mu   sync.Mutex
	last *replication.Replicas
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
func (p *Publisher) Advertise(ctx context.Context, key []byte, raw wire.Raw) (*Advertisement, error) {
	value, err := Check(key, raw)
	if err != nil {
		return nil, err
	}
	key = bytes.Clone(key)
	return p.advertise(ctx, subject{key, value, func() replication.Copy { return replication.Copy{Key: key, Value: value} }})
}

func (p *Publisher) advertise(ctx context.Context, s subject) (*Advertisement, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pub, isNew, err := p.publicationOf(s)
		switch {
		case err != nil:
			return nil, err
		case isNew:
			return p.begin(ctx, pub)
		}
		select {
		case <-pub.started:
		case <-ctx.Done():
			p.leave(pub)
			return nil, ctx.Err()
		}
		if pub.failed == nil && pub.ctx.Err() == nil {
			return &Advertisement{publisher: p, publication: pub}, nil
		}
		p.leave(pub) // it has just been withdrawn, or could not begin
	}
}

// publicationOf returns the publication of a subject, with one user more, and whether
// it is new, and so to be begun.
func (p *Publisher) publicationOf(s subject) (pub *publication, isNew bool, err error) {
	name := s.name()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, proto.ErrClosed
	}
	if pub := p.publications[name]; pub != nil && pub.ctx.Err() == nil {
		if !bytes.Equal(pub.base.Raw, s.base.Raw) {
			return nil, false, fmt.Errorf("%w: %x", ErrAdvertised, s.key)
		}
		pub.users++
		return pub, false, nil
	}
	pub = &publication{subject: s, users: 1,
		started: make(chan struct{}), done: make(chan struct{}), published: make(chan struct{})}
	pub.ctx, pub.stop = context.WithCancel(p.ctx)
	p.publications[name] = pub
	p.tasks.Add(1)
	return pub, true, nil
}

// begin keeps a new publication's value here and has it published.
func (p *Publisher) begin(ctx context.Context, pub *publication) (*Advertisement, error) {
	defer close(pub.started)
	here := schedule{pause: firstRepublish}
	c := pub.now()
	err := p.keep(ctx, c.Key, c.Value)
	if isFinal(err) {
		pub.failed = err
		close(pub.done)
		p.leave(pub)
		p.tasks.Done()
		return nil, err
	}
	p.noteKept(pub, err)
	here.plan(time.Now(), err, pub.base.TTL)
	go func() {
		defer p.tasks.Done()
		defer close(pub.done)
		p.run(pub, here)
	}()
	return &Advertisement{publisher: p, publication: pub}, nil
}

// leave takes a user off a publication, the last of which ends it, and reports
// whether it was the last.
func (p *Publisher) leave(pub *publication) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pub.users--; pub.users > 0 {
		return false
	}
	pub.stop()
	if name := pub.name(); p.publications[name] == pub {
		delete(p.publications, name)
	}
	return true
}

// Withdraw ends the advertisement: the record is not published any more, and is
// gone everywhere when its ttl is over. Withdrawing again does nothing. Where the same
// value was advertised more than once, the last to withdraw it ends it.
func (a *Advertisement) Withdraw() {
	a.withdraw.Do(func() {
		if a.publisher.leave(a.publication) {
			<-a.publication.done
		}
	})
}

// Published is closed once another node has the record.
func (a *Advertisement) Published() <-chan struct{} { return a.publication.published }

// Last returns what the last publication came to, as Store does; both are nil
// until the first one is over.
func (a *Advertisement) Last() (*replication.Replicas, error) {
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
func (p *Publisher) run(pub *publication, here schedule) {
	there := schedule{pause: firstRepublish}
	reached := sync.OnceFunc(func() { close(pub.published) })
	for pub.ctx.Err() == nil {
		c := pub.now()
		if start := time.Now(); !start.Before(here.next) {
			err := p.keep(pub.ctx, c.Key, c.Value)
			if pub.ctx.Err() != nil {
				return
			}
			p.noteKept(pub, err)
			here.plan(start, err, pub.base.TTL)
		}
		if start := time.Now(); !start.Before(there.next) {
			replicas, err := p.replicate(pub.ctx, c)
			if pub.ctx.Err() != nil {
				return
			}
			p.cfg.Published(acknowledged(replicas), err)
			pub.mu.Lock()
			pub.last, pub.err = replicas, err
			pub.mu.Unlock()
			there.plan(start, err, pub.base.TTL)
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
		case <-pub.ctx.Done():
		}
	}
}

// noteKept logs that a record could not be kept here.
func (p *Publisher) noteKept(pub *publication, err error) {
	if err != nil {
		p.cfg.Log.Warn("an advertised record could not be kept here, and is tried again", "key", fmt.Sprintf("%x", pub.key), "err", err)
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
