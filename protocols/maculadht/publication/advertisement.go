package publication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
)

// ErrAdvertised: this node advertises another value under the key for the same
// provider. Under one key a provider has one record, so the two would replace each
// other in turn; withdraw the first, or offer the second under another name.
var ErrAdvertised = errors.New("another value is advertised under the key")

// subject is what is published under a key.
type subject struct {
	key   []byte
	base  values.Value            // by which two are the same
	offer *provider.Offer         // of which it is the record; nil for none
	now   func() replication.Copy // what is published, as it is at the moment
	brief bool                    // it does not go on after a restart
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

func (s *subject) is(o *subject) bool {
	return bytes.Equal(s.base.Raw, o.base.Raw) && (s.offer == nil) == (o.offer == nil)
}

// publication is what advertisements of one value share.
type publication struct {
	subject
	since time.Time // when it was first advertised, be it before a restart

	started chan struct{} // closed once it is kept here, or could not begin
	failed  error         // why it could not begin
	ctx     context.Context
	stop    context.CancelFunc
	done    chan struct{} // closed when nothing is published any more

	published chan struct{}

	// Guarded by Publisher.mu.
	users   int  // advertisements of this program
	briefs  int  // of these, those that are brief
	resumed bool // it is from before a restart, and this program has not advertised it
	over    bool // it was withdrawn, or replaced
	written bool // it may be in the state
	saved   bool // it is

	retracted <-chan struct{} // closed once its record was said to be gone; nil where it is not

	mu   sync.Mutex
	last *replication.Replicas
	err  error
}

// Advertisement is a record that is published again and again until it is
// withdrawn.
type Advertisement struct {
	publisher   *Publisher
	publication *publication
	brief       bool // it is a subscription's, or of a procedure that is served
	withdraw    sync.Once
}

// Advertise keeps a value alive here and on the nodes nearest to its key, until it
// is withdrawn or the publisher is closed; ctx bounds no more than this call. It is
// stored as by Store, and stored again when 80 % of its ttl are over, or a little
// earlier so that not all nodes do so at once. What failed, be it here or there, is
// tried again after a second, and then ever less often, or as soon as the first other
// node is known.
//
// The value is kept here when Advertise returns, unless the store fails, which is
// logged, and the advertisement is in the state, if there is one, so that it goes on
// after a restart; where it could not be saved it is returned, and goes on, with an
// [ErrNotSaved]. The rest happens in the background, see Published.
//
// A value that can not be stored is an ErrInvalidRequest. One that is advertised already
// is shared, and lives until the last has withdrawn it; where another value of the same
// provider (its node_id) is, the error is ErrAdvertised. But what goes on from before a
// restart is taken over, and replaced by another value, as long as nobody has advertised
// it since.
func (p *Publisher) Advertise(ctx context.Context, key []byte, raw wire.Raw) (*Advertisement, error) {
	s, err := subjectOfValue(key, raw)
	if err != nil {
		return nil, err
	}
	return p.advertise(ctx, s)
}

// subjectOfValue returns what is published of a value.
func subjectOfValue(key []byte, raw wire.Raw) (subject, error) {
	value, err := Check(key, raw)
	if err != nil {
		return subject{}, err
	}
	c := replication.Copy{Key: bytes.Clone(key), Value: value}
	return subject{key: c.Key, base: value, now: func() replication.Copy { return c }}, nil
}

func (p *Publisher) advertise(ctx context.Context, s subject) (*Advertisement, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pub, isNew, replaced, err := p.publicationOf(s)
		switch {
		case err != nil:
			return nil, err
		case isNew:
			return p.begin(ctx, pub, replaced, s.brief)
		}
		select {
		case <-pub.started:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), p.leave(ctx, pub, s.brief))
		}
		if pub.failed == nil && pub.ctx.Err() == nil {
			err := p.save(ctx, pub)
			if err != nil && ctx.Err() != nil {
				return nil, errors.Join(ctx.Err(), p.leave(ctx, pub, s.brief))
			}
			return &Advertisement{publisher: p, publication: pub, brief: s.brief}, err
		}
		_ = p.leave(ctx, pub, s.brief) // it has just been withdrawn, or could not begin
	}
}

// publicationOf returns the publication of a subject, with one user more, and whether
// it is new, and so to be begun, perhaps in the place of another.
func (p *Publisher) publicationOf(s subject) (pub *publication, isNew bool, replaced *publication, err error) {
	name := s.name()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, nil, proto.ErrClosed
	}
	since := time.Now()
	if pub := p.publications[name]; pub != nil {
		same := pub.is(&s)
		switch {
		case same || bytes.Equal(pub.base.Raw, s.base.Raw) && !pub.resumed:
			pub.users++
			if s.brief {
				pub.briefs++
			}
			pub.resumed = false
			pub.brief = pub.brief && s.brief
			return pub, false, nil, nil
		case !pub.resumed:
			return nil, false, nil, fmt.Errorf("%w: %x", ErrAdvertised, s.key)
		}
		p.end(pub)
		p.noteGone(pub) // as it will be overwritten
		replaced = pub
	}
	pub = p.enter(s, since)
	if pub.users = 1; s.brief {
		pub.briefs = 1
	}
	return pub, true, replaced, nil
}

// enter makes the publication of a subject; p.mu is held, and nothing has its name.
// Whoever calls it begins it.
func (p *Publisher) enter(s subject, since time.Time) *publication {
	pub := &publication{subject: s, since: since,
		started: make(chan struct{}), done: make(chan struct{}), published: make(chan struct{})}
	pub.ctx, pub.stop = context.WithCancel(p.ctx)
	p.publications[s.name()] = pub
	p.tasks.Add(1)
	return pub
}

// begin keeps a new publication's value here, saves it and has it published, once that
// which it replaces is over.
func (p *Publisher) begin(ctx context.Context, pub, replaced *publication, brief bool) (*Advertisement, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)() // Close waits for this
	err := p.keepFirst(ctx, pub, replaced)
	var unsaved error
	if !isFinal(err) {
		if unsaved = p.save(ctx, pub); unsaved != nil && ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	if isFinal(err) {
		if p.ctx.Err() != nil {
			err = proto.ErrClosed
		}
		return nil, errors.Join(err, p.fail(pub, replaced, err))
	}
	p.noteKept(pub, err, unsaved)
	here := schedule{pause: firstRepublish}
	here.plan(time.Now(), errors.Join(err, unsaved), pub.base.TTL)
	p.publish(pub, here, false)
	close(pub.started)
	return &Advertisement{publisher: p, publication: pub, brief: brief}, unsaved
}

// fail ends a publication that could not begin, and has that go on which it was to
// replace.
func (p *Publisher) fail(pub, replaced *publication, err error) error {
	pub.failed = err
	close(pub.done)
	p.mu.Lock()
	p.end(pub)
	written := pub.written
	p.mu.Unlock()
	if replaced != nil {
		p.resume(replaced.subject, replaced.since, !written)
	}
	ctx, cancel := context.WithTimeout(p.ctx, diskPatience)
	defer cancel()
	err = p.forget(ctx, pub)
	close(pub.started)
	p.tasks.Done()
	return err
}

// keepFirst keeps a new publication's value here.
func (p *Publisher) keepFirst(ctx context.Context, pub, replaced *publication) error {
	if replaced != nil {
		select {
		case <-replaced.done: // else it might be published after the new value was
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := p.keep(ctx, pub.now())
	return err
}

// publish has a publication go on until it is over.
func (p *Publisher) publish(pub *publication, here schedule, waits bool) {
	go func() {
		defer p.tasks.Done()
		defer close(pub.done)
		p.run(pub, here, waits)
	}()
}

// end has a publication be over; p.mu is held.
func (p *Publisher) end(pub *publication) {
	pub.over = true
	pub.stop()
	if name := pub.name(); p.publications[name] == pub {
		delete(p.publications, name)
	}
}

// leave takes a user off a publication, the last of which ends it and has it forgotten.
func (p *Publisher) leave(ctx context.Context, pub *publication, brief bool) error {
	p.mu.Lock()
	if brief {
		pub.briefs--
	}
	if pub.users--; pub.users <= 0 && !p.closed && !pub.over {
		p.withdraw(pub)
	}
	p.mu.Unlock()
	return p.ended(ctx, pub)
}

// ended has a publication forgotten, if it is over, and waits until its record is gone.
func (p *Publisher) ended(ctx context.Context, pub *publication) error {
	patience := time.NewTimer(withdrawWithin)
	defer patience.Stop()
	err := p.forgotten(pub)
	p.mu.Lock()
	retracted := pub.retracted
	p.mu.Unlock()
	if retracted != nil {
		select {
		case <-retracted:
		case <-patience.C: // it goes on
		case <-ctx.Done(): // as well
		}
	}
	return err
}

// forgotten has a publication forgotten, if it is over.
func (p *Publisher) forgotten(pub *publication) error {
	p.mu.Lock()
	over, staysIn := pub.over, p.closed && pub.written
	p.mu.Unlock()
	if !over {
		if staysIn {
			return fmt.Errorf("%w: the advertisement of %x goes on after a restart", proto.ErrClosed, pub.key)
		}
		return nil
	}
	if p.cfg.State == nil {
		<-pub.done
		return nil
	}
	ctx, cancel := context.WithTimeout(p.ctx, diskPatience)
	defer cancel()
	select {
	case <-pub.done:
		return p.forget(ctx, pub)
	case <-ctx.Done():
		return fmt.Errorf("%w: what is being published of it has not ended: %w", ErrNotSaved, ctx.Err())
	}
}

// Withdraw ends the advertisement: the record is not published any more. One that this
// node can prove to be its own is gone when Withdraw returns, here and at those who have
// it; it waits for that for 5 s at most, and who was not reached by then has it until its
// ttl is over, as all have any other. Where the same value was advertised more than
// once, the last to withdraw it ends it.
//
// The error is an [ErrNotSaved] where it is in the state and could not be taken out of
// it, or not within 5 s: it may go on after a restart then. Withdrawing again tries that again, and else
// does nothing. After Close, which it outlives in a state, the error is ErrClosed.
func (a *Advertisement) Withdraw() error { return a.WithdrawWhile(context.Background()) }

// WithdrawWhile is Withdraw that waits for those who have the record until ctx ends, at
// most. They are told all the same.
func (a *Advertisement) WithdrawWhile(ctx context.Context) error {
	err, first := error(nil), false
	a.withdraw.Do(func() { err, first = a.publisher.leave(ctx, a.publication, a.brief), true })
	if first {
		return err
	}
	return a.publisher.ended(ctx, a.publication)
}

// Published is closed once another node has the record.
func (a *Advertisement) Published() <-chan struct{} { return a.publication.published }

// Last returns what the last publication came to, as Store does; both are nil
// until the first one is over.
func (a *Advertisement) Last() (*replication.Replicas, error) { return a.publication.lastOf() }

func (pub *publication) lastOf() (*replication.Replicas, error) {
	pub.mu.Lock()
	defer pub.mu.Unlock()
	return pub.last, pub.err
}

// Status is an advertisement as it stands.
type Status struct {
	Key []byte
	// Value is what is advertised, of a service without the addresses that are in each
	// publication.
	Value wire.Raw
	// Offer is what AdvertiseService was given; nil for what Advertise was.
	Offer *provider.Offer
	// Since is when it was first advertised, be it before a restart.
	Since time.Time
	// Last and Err are what the last publication came to; see Advertisement.Last.
	Last *replication.Replicas
	Err  error
	// Saved says that it goes on after a restart.
	Saved bool
	// Resumed says that it is from before a restart, and that the program has not
	// advertised it since.
	Resumed bool
	// Brief says that a subscription, or a procedure that is served, is told of by it, perhaps
	// among others: it is there as long as these are.
	Brief bool

	publisher   *Publisher
	publication *publication
}

// Withdraw ends it, whoever has advertised it; see Advertisement.Withdraw.
func (s Status) Withdraw() error { return s.WithdrawWhile(context.Background()) }

// WithdrawWhile is Withdraw that waits for those who have the record until ctx ends, at most.
// They are told all the same.
func (s Status) WithdrawWhile(ctx context.Context) error {
	s.publisher.mu.Lock()
	if pub := s.publication; !s.publisher.closed && !pub.over {
		s.publisher.withdraw(pub)
	}
	s.publisher.mu.Unlock()
	return s.publisher.ended(ctx, s.publication)
}

// Is reports whether it is how a stands: that of one value is shared by those who have
// advertised it.
func (s Status) Is(a *Advertisement) bool { return s.publication == a.publication }

// Advertisements returns all that are published, those first that were advertised
// first.
func (p *Publisher) Advertisements() []Status {
	p.mu.Lock()
	all := make([]Status, 0, len(p.publications))
	for _, pub := range p.publications {
		s := Status{Key: bytes.Clone(pub.key), Value: pub.base.Raw, Since: pub.since,
			Saved: pub.saved, Resumed: pub.resumed, Brief: pub.briefs > 0, publisher: p, publication: pub}
		if pub.offer != nil {
			offer := *pub.offer
			s.Offer = &offer
		}
		s.Last, s.Err = pub.lastOf()
		all = append(all, s)
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b Status) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return bytes.Compare(a.Value, b.Value)
	})
	return all
}
