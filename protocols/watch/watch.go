// Package watch follows the records of a key: what comes, changes, is withdrawn and
// expires, wherever in the network.
//
// A [Watcher] has the nodes nearest to the key, which hold its records, tell when these
// change: it subscribes there, on a stream of its own to each, under
// [pubsub.KeyTopic]. Then it looks the key up, as it does all the time where nobody tells
// it. What the records are is for the lookup alone to say: who tells says nothing else.
// Erlang nodes do not tell; they are asked where no libp2p peer has anything.
package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/found"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

// Kind is what happened to a record.
type Kind string

// The kinds.
const (
	Came      Kind = "came"
	Changed   Kind = "changed"   // its provider has another value
	Withdrawn Kind = "withdrawn" // before its life was over, or those who held it have gone
	Expired   Kind = "expired"
)

// Event is what happened to a record of the key. A renewal is none.
type Event struct {
	Kind  Kind
	Value lookup.FoundValue // as it was last, where it has gone
}

// ErrTooMany: as many keys are watched as may be, see Limits.Watches.
var ErrTooMany = errors.New("too many keys are watched")

// Limits are how keys are watched.
type Limits struct {
	// Watches is how many there may be at a time.
	Watches int
	// Holders is how many nodes are asked to tell of changes, and RenewEvery how often
	// it is looked which these are.
	Holders    int
	RenewEvery time.Duration
	// PollEvery is how often the key is looked up where nobody tells, TrustEvery where
	// somebody does. Apart is the least time between two lookups.
	PollEvery, TrustEvery, Apart time.Duration
	// ErlangEvery is the least time between two lookups, of whatever keys, that ask Erlang
	// nodes which are not known to have the key: each miss holds them up.
	ErlangEvery time.Duration
}

// DefaultLimits returns 256 watches, 4 holders, looked for each 150 s; a lookup each 5 s,
// or 30 s where one of them tells, and 250 ms apart; Erlang nodes asked for a key a second.
func DefaultLimits() Limits {
	return Limits{
		Watches: 256, Holders: 4, RenewEvery: 150 * time.Second,
		PollEvery: 5 * time.Second, TrustEvery: 30 * time.Second, Apart: 250 * time.Millisecond,
		ErlangEvery: time.Second,
	}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	if l.Watches < 1 || l.Holders < 1 || min(l.RenewEvery, l.PollEvery, l.TrustEvery, l.Apart, l.ErlangEvery) <= 0 {
		return fmt.Errorf("limits %+v: want each above 0", l)
	}
	return nil
}

// Option sets a detail of a Watcher.
type Option func(*Watcher) error

// WithLimits sets how keys are watched, DefaultLimits without it.
func WithLimits(l Limits) Option {
	return func(w *Watcher) error {
		w.limits = l
		return l.Validate()
	}
}

// Watcher watches keys. It is safe for concurrent use.
type Watcher struct {
	service *maculadht.Service
	topics  *pubsub.Topics
	limits  Limits
	erlang  *rate.Limiter // of lookups that ask Erlang nodes which may have nothing

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	watches int
	tasks   sync.WaitGroup
}

// New returns a watcher in a service with topics. Close it before these.
func New(service *maculadht.Service, topics *pubsub.Topics, opts ...Option) (*Watcher, error) {
	if service == nil || topics == nil {
		return nil, errors.New("watch: no service, or no topics")
	}
	w := &Watcher{service: service, topics: topics, limits: DefaultLimits()}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("watch: a nil option")
		}
		if err := opt(w); err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
	}
	w.erlang = rate.NewLimiter(rate.Every(w.limits.ErlangEvery), 1)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w, nil
}

// Close ends all watches, and waits for them.
func (w *Watcher) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.tasks.Wait()
	return nil
}

// begin counts a watch.
func (w *Watcher) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return proto.ErrClosed
	case w.watches >= w.limits.Watches:
		return ErrTooMany
	}
	w.watches++
	w.tasks.Add(1)
	return nil
}

func (w *Watcher) end() {
	w.mu.Lock()
	w.watches--
	w.mu.Unlock()
	w.tasks.Done()
}

// Watch yields what happens to the records of a key, of 1 to 255 bytes, until ctx ends or
// the loop is left: first those that there are. It looks while it is read; of what changes
// more than once between two reads the last is told. An error comes last, without an
// event: [proto.ErrInvalidRequest], [proto.ErrClosed], ErrTooMany, or that of ctx.
func (w *Watcher) Watch(ctx context.Context, key []byte) iter.Seq2[Event, error] {
	key = slices.Clone(key)
	return func(yield func(Event, error) bool) {
		if len(key) == 0 || len(key) > wire.MaxField {
			yield(Event{}, fmt.Errorf("%w: a key of %d bytes, want 1 to %d", proto.ErrInvalidRequest, len(key), wire.MaxField))
			return
		}
		if err := w.begin(); err != nil {
			yield(Event{}, err)
			return
		}
		defer w.end()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(w.ctx, cancel)()
		v := &view{of: w, key: key, changed: make(chan struct{}, 1)}
		h := newHolders(ctx, w, key, v.mayHaveChanged)
		defer h.close()
		h.here()
		err := v.run(ctx, h, yield)
		if err != nil && w.ctx.Err() != nil {
			err = proto.ErrClosed
		}
		if err != nil {
			yield(Event{}, err)
		}
	}
}

// view is what a watch knows of its key.
type view struct {
	of      *Watcher
	key     []byte
	changed chan struct{} // has a token when it may have

	known  []lookup.FoundValue
	erlang []lookup.FoundValue // what Erlang nodes have said that they have
}

func (v *view) mayHaveChanged() {
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// run looks and tells until ctx ends, which is the error, or nobody listens.
func (v *view) run(ctx context.Context, h *holders, yield func(Event, error) bool) error {
	for {
		begun := time.Now()
		values, closest, answered := v.look(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h.looked(closest, v.differs(values, answered))
		if answered || len(values) > 0 {
			for _, e := range v.events(values, answered, time.Now()) {
				if !yield(e, nil) {
					return nil
				}
			}
		}
		if err := v.wait(ctx, begun, h); err != nil {
			return err
		}
	}
}

// look looks the key up, and reports whether all were asked that should be. Erlang nodes are
// where no libp2p peer has anything: those that have it each time, as that costs them
// nothing, others when it is the watch's turn.
func (v *view) look(ctx context.Context) (values []lookup.FoundValue, closest []routing.Contact, all bool) {
	look := v.of.service.FindPeerValues
	if len(v.erlang) > 0 || v.of.erlang.Allow() {
		look = v.of.service.FindValues
	}
	found, err := look(ctx, v.key)
	asked, failed := 0, 0
	for _, hop := range found.Hops {
		if hop.Contact.IsErlang() {
			asked++
			if hop.Err != nil {
				failed++
			}
		}
	}
	values = found.Values
	if asked > failed && (failed == 0 || len(values) > 0) {
		v.erlang = slices.Clone(values) // libp2p peers have none then
	} else { // they have what they had, for all that is known
		for _, k := range v.erlang {
			if k.Expires.After(time.Now()) && !slices.ContainsFunc(values, func(f lookup.FoundValue) bool { return sameRecord(&k, &f) }) {
				values = append(values[:len(values):len(values)], k)
			}
		}
	}
	return values, found.Closest, err == nil || errors.Is(err, maculadht.ErrNotFound) || errors.Is(err, maculadht.ErrNoPeers)
}

// wait waits until it is time to look again.
func (v *view) wait(ctx context.Context, begun time.Time, h *holders) error {
	l := &v.of.limits
	every := l.PollEvery
	if h.tell() && len(v.erlang) == 0 {
		every = l.TrustEvery
	}
	next := begun.Add(every)
	for i := range v.known {
		if e := v.known[i].Expires; e.Before(next) {
			next = e
		}
	}
	late := time.NewTimer(time.Until(next))
	defer late.Stop()
	select {
	case <-late.C:
	case <-v.changed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	apart := time.NewTimer(time.Until(begun.Add(l.Apart)))
	defer apart.Stop()
	select {
	case <-apart.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// differs reports whether what was found is not what is known, be it that it was renewed.
func (v *view) differs(values []lookup.FoundValue, all bool) bool {
	return all && found.Differ(recordsOf(v.known), recordsOf(values))
}

func recordsOf(values []lookup.FoundValue) (all []records.Record) {
	for i := range values {
		all = append(all, values[i].Record())
	}
	return all
}

// events returns what is new in what was found, and notes it. What is missing has gone
// only where all was asked that should be. It was withdrawn where it had more life left than
// copies may differ by.
func (v *view) events(values []lookup.FoundValue, all bool, now time.Time) (events []Event) {
	for _, f := range values {
		i := slices.IndexFunc(v.known, func(k lookup.FoundValue) bool { return sameRecord(&k, &f) })
		switch {
		case i < 0:
			events = append(events, Event{Came, f})
			v.known = append(v.known, f)
			continue
		case !bytes.Equal(v.known[i].Raw, f.Raw):
			events = append(events, Event{Changed, f})
		}
		v.known[i] = f
	}
	v.known = slices.DeleteFunc(v.known, func(k lookup.FoundValue) bool {
		there := slices.ContainsFunc(values, func(f lookup.FoundValue) bool { return sameRecord(&k, &f) })
		switch left := k.Expires.Sub(now); {
		case there, !all && left > 0:
			return false
		case left <= found.FresherBy:
			events = append(events, Event{Expired, k})
		default:
			events = append(events, Event{Withdrawn, k})
		}
		return true
	})
	return events
}

// sameRecord reports whether two values are of one record: of one provider, or, where they
// name none, equal.
func sameRecord(a, b *lookup.FoundValue) bool {
	if len(a.NodeID) == 0 && len(b.NodeID) == 0 {
		return bytes.Equal(a.Raw, b.Raw)
	}
	return bytes.Equal(a.NodeID, b.NodeID)
}
