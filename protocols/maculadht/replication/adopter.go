package replication

import (
	"bytes"
	"cmp"
	"container/heap"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

const (
	// firstRetry is after how long a record that nobody took is tried again, doubled
	// each time, and lastRetry what that grows to.
	firstRetry = 2 * time.Second
	lastRetry  = time.Minute
)

// Adopter replicates records that others store at this node only, to the libp2p
// nodes nearest to their key, never to Erlang contacts: two gateways that pass on
// what the other has passed on would not end. Copies are made at once, and again
// when they have lived half their life and the record has been renewed since. A
// record that is not renewed ends everywhere when its life is over.
//
// It remembers which records those are; what they hold is read where they are
// stored. There is one job for a record at a time, and IP groups are served in turn,
// and in each its sources.
// It is safe for concurrent use.
type Adopter struct {
	lookups *lookup.Lookups
	network routing.Network
	limits  Limits
	filter  func(key []byte, value values.Value) bool
	tracer  MetricsTracer
	rate    *rate.Limiter // of jobs

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // workers

	mu       sync.Mutex
	closed   bool
	records  map[recordID]*adopted
	groups   map[string]*group // by groupName
	heaviest byWeight[*group]  // all of them
	turns    list.List         // of *group, those for which something waits; whose turn is next first
	workers  int
	waiting  int         // records
	jobs     int         // under way
	wake     *time.Timer // ticks when the next of those that are held back may go on; nil before the first

	replicated, failed, held uint64
	dropped                  map[DropReason]uint64
}

// recordID tells records apart: it is a digest of key and provider.
type recordID [sha256.Size]byte

// adopted is a record that is kept alive elsewhere. All that changes is guarded by
// Adopter.mu.
type adopted struct {
	id      recordID
	key     []byte
	nodeID  []byte // nil for none
	source  *source
	renewal *list.Element // in source.records

	value   [sha256.Size]byte // digest
	size    int               // bytes of key and value
	expires time.Time         // as last renewed
	copied  time.Time         // when the copies were made
	copies  time.Time         // when they end; zero for none
	tried   time.Time         // when nobody took it
	retries int               // how often in a row

	state state
	again bool          // it was changed while it was on its way
	held  bool          // it waits for its source's bytes
	queue *list.Element // in source.waiting
	timer *time.Timer   // ticks when there may be something to do; nil before the first
}

type state uint8

const (
	idle state = iota
	waiting
	running
	gone
)

// source is whose records are adopted.
type source struct {
	name    records.Source
	group   *group
	records list.List // of *adopted, renewed longest ago first
	waiting list.List // of *adopted, in order
	turn    *list.Element
	jobs    int
	bytes   allowance
	forget  *time.Timer // ticks when it has its bytes again; nil before the first
	place   int         // in group.heaviest
}

// group is an IP group with all its sources, or one source that is in none.
type group struct {
	name     string
	sources  map[records.Source]*source
	heaviest byWeight[*source] // all of them
	records  int
	turns    list.List // of *source, those for which something waits
	turn     *list.Element
	jobs     int
	bytes    allowance
	place    int // in Adopter.heaviest
}

// groupName returns who shares with a source: its IP group or, outside of any, nobody.
func groupName(of records.Source) string { return cmp.Or(of.Group, of.Name) }

// NewAdopter returns an adopter that finds the nodes by these lookups and writes to
// them through network. Close it before the network.
func NewAdopter(lookups *lookup.Lookups, network routing.Network, opts ...Option) (*Adopter, error) {
	cfg := config{limits: DefaultLimits(), tracer: noTracer{}}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("replication: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("replication: %w", err)
		}
	}
	a := &Adopter{
		lookups: lookups,
		network: network,
		limits:  cfg.limits,
		filter:  cfg.filter,
		tracer:  cfg.tracer,
		rate:    rate.NewLimiter(rate.Limit(cfg.limits.Rate), cfg.limits.Burst),
		records: make(map[recordID]*adopted),
		groups:  make(map[string]*group),
		dropped: make(map[DropReason]uint64),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a, nil
}

// Close stops the replication and waits for it. Nothing is adopted any more.
func (a *Adopter) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.tasks.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.records {
		a.remove(r)
	}
	a.forgetSources()
}

// Adopt has a value replicated that somebody has stored here, for as long as it is
// renewed by Adopt. Who renews it is from then on whose record it is. It returns at
// once, and keeps nothing of the put's slices.
func (a *Adopter) Adopt(p records.Put) {
	value := values.Value{Raw: p.Value, NodeID: p.NodeID, TTL: p.TTL}
	unwanted := DropReason("")
	switch {
	case wire.IsGatewayKey(p.Key):
		unwanted = DropGateway
	case a.filter != nil && !a.filter(p.Key, value):
		unwanted = DropUnwanted
	}
	digest := sha256.Sum256(p.Value)
	id := idOf(p.Key, p.NodeID, digest)
	now := time.Now()
	expires := now.Add(lifeOf(&p))

	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.records[id]
	switch {
	case a.closed:
		return
	case unwanted != "":
		if a.drop(unwanted); r != nil { // it was another value
			a.remove(r)
		}
		return
	case r == nil:
		// The node id is a part of the value's buffer.
		r = &adopted{id: id, key: bytes.Clone(p.Key), nodeID: bytes.Clone(p.NodeID), value: digest}
		a.records[id] = r
		a.tracer.Adopted()
		a.give(r, p.Source)
	case r.source.name != p.Source:
		a.move(r, p.Source)
	}
	changed := r.value != digest
	r.value, r.size, r.expires = digest, len(p.Key)+len(p.Value), expires
	r.source.records.MoveToBack(r.renewal)
	switch {
	case r.state == running:
		r.again = r.again || changed
	case r.state == idle && (changed || r.copies.IsZero() && r.retries == 0):
		a.enqueue(r)
	case r.state == idle:
		a.schedule(r, now)
	}
}

func idOf(key, nodeID []byte, value [sha256.Size]byte) (id recordID) {
	provider := nodeID
	if nodeID == nil {
		provider = value[:]
	}
	b := binary.AppendUvarint(nil, uint64(len(key)))
	b = append(append(b, key...), provider...)
	return sha256.Sum256(b)
}

// lifeOf returns how long a record lives that is put.
func lifeOf(p *records.Put) time.Duration {
	life := p.TTL
	if life == 0 {
		life = records.DefaultTTL
	}
	if p.ExpiresIn > 0 {
		life = min(life, p.ExpiresIn)
	}
	return life
}

// give makes a record one of a source. Where there are too many one goes for it.
func (a *Adopter) give(r *adopted, to records.Source) {
	s := a.sourceOf(to)
	g := s.group
	r.source, r.renewal = s, s.records.PushBack(r)
	a.weigh(s, 1)
	switch {
	case s.records.Len() > a.limits.RecordsPerSource:
		a.remove(s.oldest())
		a.drop(DropSource)
	case g.records > a.limits.RecordsPerGroup:
		a.remove(g.heaviest[0].oldest())
		a.drop(DropGroup)
	case len(a.records) > a.limits.Records:
		a.remove(a.heaviest[0].heaviest[0].oldest())
		a.drop(DropFull)
	}
}

// oldest returns the record that was not renewed for the longest.
func (s *source) oldest() *adopted { return s.records.Front().Value.(*adopted) }

// sourceOf returns a source, a new one where nothing of it is adopted.
func (a *Adopter) sourceOf(name records.Source) *source {
	g := a.groups[groupName(name)]
	if g == nil {
		g = &group{name: groupName(name), sources: make(map[records.Source]*source)}
		a.groups[g.name] = g
		heap.Push(&a.heaviest, g)
	}
	s := g.sources[name]
	if s == nil {
		s = &source{name: name, group: g}
		g.sources[name] = s
		heap.Push(&g.heaviest, s)
	}
	return s
}

// weigh notes that a source has so many records more.
func (a *Adopter) weigh(s *source, more int) {
	s.group.records += more
	heap.Fix(&s.group.heaviest, s.place)
	heap.Fix(&a.heaviest, s.group.place)
}

// move gives a record to the source that has renewed it: its first one may be full of
// what is never renewed, and who came first has no claim to it.
func (a *Adopter) move(r *adopted, to records.Source) {
	waits := r.state == waiting
	if waits {
		a.unqueue(r)
	}
	a.release(r)
	a.give(r, to)
	if waits && r.state != gone {
		a.enqueue(r)
	}
}

// release takes a record from its source.
func (a *Adopter) release(r *adopted) {
	r.source.records.Remove(r.renewal)
	a.weigh(r.source, -1)
	a.forgetIfIdle(r.source)
}

func (a *Adopter) drop(why DropReason) {
	a.dropped[why]++
	a.tracer.Dropped(why)
}

// remove forgets a record. A job of it ends by itself.
func (a *Adopter) remove(r *adopted) {
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.state == waiting {
		a.unqueue(r)
	}
	r.state = gone
	delete(a.records, r.id)
	a.release(r)
}

// forgetIfIdle forgets a source of which nothing is left, once it has its bytes again:
// it would else have them at once by letting its records end.
func (a *Adopter) forgetIfIdle(s *source) {
	g := s.group
	if s.records.Len() > 0 || s.jobs > 0 || g.sources[s.name] != s || a.forgetLater(s) {
		return
	}
	heap.Remove(&g.heaviest, s.place)
	if delete(g.sources, s.name); len(g.sources) == 0 {
		heap.Remove(&a.heaviest, g.place)
		delete(a.groups, g.name)
	}
}

// enqueue has a record replicated when it is its turn.
func (a *Adopter) enqueue(r *adopted) {
	s := r.source
	r.state = waiting
	r.queue = s.waiting.PushBack(r)
	a.waiting++
	if s.turn == nil {
		s.turn = s.group.turns.PushBack(s)
	}
	if s.group.turn == nil {
		s.group.turn = a.turns.PushBack(s.group)
	}
	a.hire()
}

// hire has one more worker, if there may be.
func (a *Adopter) hire() {
	if a.workers < a.limits.Jobs && !a.closed {
		a.workers++
		a.tasks.Go(a.work)
	}
}

// unqueue takes a record that waits off the queue of its source.
func (a *Adopter) unqueue(r *adopted) {
	s := r.source
	s.waiting.Remove(r.queue)
	r.held = false
	a.waiting--
	if s.waiting.Len() > 0 {
		return
	}
	s.group.turns.Remove(s.turn)
	s.turn = nil
	if s.group.turns.Len() == 0 {
		a.turns.Remove(s.group.turn)
		s.group.turn = nil
	}
}

// schedule has a record that is idle looked at again when its copies are to be made
// anew, at once if that is now, or when it ends.
func (a *Adopter) schedule(r *adopted, now time.Time) {
	next := r.expires
	switch {
	case r.retries > 0:
		next = r.tried.Add(min(firstRetry<<min(r.retries-1, 10), lastRetry))
	case r.expires.Sub(r.copies) >= time.Second: // it was renewed
		next = r.copied.Add(r.copies.Sub(r.copied) / 2)
	}
	switch {
	case !now.Before(r.expires):
		a.remove(r)
		a.drop(DropEnded)
	case !now.Before(next):
		a.enqueue(r)
	default:
		wait := min(next.Sub(now), r.expires.Sub(now))
		if r.timer == nil {
			r.timer = time.AfterFunc(wait, func() { a.tick(r) })
			return
		}
		r.timer.Reset(wait)
	}
}

func (a *Adopter) tick(r *adopted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed && r.state == idle {
		a.schedule(r, time.Now())
	}
}

// work replicates what waits until nothing does.
func (a *Adopter) work() {
	for {
		r, payer := a.take()
		if r == nil {
			return
		}
		started := time.Now()
		until, replicas, err := time.Time{}, (*Replicas)(nil), a.rate.Wait(a.ctx)
		if err == nil {
			started = time.Now()
			until, replicas, err = a.replicate(r)
		}
		a.done(r, payer, started, until, replicas, err)
	}
}

// take returns the record whose turn it is, and whose job that is, nil for none.
func (a *Adopter) take() (*adopted, *source) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, soonest := time.Now(), time.Duration(0)
	a.dropEnded(now)
	for at := a.turns.Front(); at != nil && !a.closed; at = at.Next() {
		g := at.Value.(*group)
		if g.jobs >= a.limits.JobsPerGroup {
			continue
		}
		for of := g.turns.Front(); of != nil; of = of.Next() {
			s := of.Value.(*source)
			if s.jobs >= a.limits.JobsPerSource {
				continue
			}
			r := s.waiting.Front().Value.(*adopted)
			if wait := a.wait(s, now); wait > 0 {
				if a.hold(r); soonest == 0 || wait < soonest {
					soonest = wait
				}
				continue
			}
			a.unqueue(r)
			if s.turn != nil {
				g.turns.MoveToBack(s.turn)
			}
			if g.turn != nil {
				a.turns.MoveToBack(g.turn)
			}
			r.state = running
			s.jobs++
			g.jobs++
			a.jobs++
			a.spend(s, r.size, now)
			if a.turns.Len() > 0 {
				a.hire() // this one is busy when the next may go on
			}
			return r, s
		}
	}
	a.workers--
	if soonest > 0 {
		a.wakeIn(soonest)
	}
	return nil, nil
}

// dropEnded forgets records whose turn would come next, but whose life is over.
func (a *Adopter) dropEnded(now time.Time) {
	var ended []*adopted
	for at := a.turns.Front(); at != nil; at = at.Next() {
		for of := at.Value.(*group).turns.Front(); of != nil; of = of.Next() {
			waiting := &of.Value.(*source).waiting
			for w := waiting.Front(); w != nil && !now.Before(w.Value.(*adopted).expires); w = w.Next() {
				ended = append(ended, w.Value.(*adopted))
			}
		}
	}
	for _, r := range ended {
		a.remove(r)
		a.drop(DropEnded)
	}
}

// errEnded: the record is not there any more, or is somebody else's.
var errEnded = errors.New("the record has ended")

// replicate puts a record on the nodes nearest to its key as it is stored here, and
// returns when it ends.
func (a *Adopter) replicate(r *adopted) (time.Time, *Replicas, error) {
	ctx, cancel := context.WithTimeout(a.ctx, a.limits.JobTime)
	defer cancel()
	stored, err := a.stored(ctx, r)
	if err != nil {
		return time.Time{}, nil, err
	}
	value, err := values.Parse(stored.Value)
	if err != nil {
		return time.Time{}, nil, errEnded // which can not be: it was parsed when it came
	}
	replicas, err := Replicate(ctx, a.lookups.Server(), a.lookups, a.network,
		Copy{Key: r.key, Value: value, Expires: stored.Expires, PeersOnly: true})
	return stored.Expires, replicas, err
}

// stored returns the record as it is stored here, errEnded where it is not, or not
// as it was adopted: what has come from elsewhere is not passed on.
func (a *Adopter) stored(ctx context.Context, r *adopted) (records.Record, error) {
	a.mu.Lock()
	digest := r.value
	a.mu.Unlock()
	stored, err := a.lookups.Server().Records().Values(ctx, r.key)
	if err != nil && !errors.Is(err, records.ErrNotFound) {
		return records.Record{}, err
	}
	for i := range stored {
		s := &stored[i]
		if !s.Owned && bytes.Equal(s.NodeID, r.nodeID) && (s.NodeID == nil) == (r.nodeID == nil) && sha256.Sum256(s.Value) == digest {
			return *s, nil
		}
	}
	return records.Record{}, errEnded
}

// done notes what came of a job, which was payer's.
func (a *Adopter) done(r *adopted, payer *source, started, until time.Time, replicas *Replicas, err error) {
	ended := errors.Is(err, errEnded)
	acknowledged := 0
	if replicas != nil {
		acknowledged = len(replicas.Acknowledged)
	}
	if !ended && a.ctx.Err() == nil {
		a.tracer.Replicated(acknowledged, err, time.Since(started))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	payer.jobs--
	payer.group.jobs--
	a.jobs--
	a.forgetIfIdle(payer)
	if r.state == gone {
		return
	}
	r.state = idle
	now := time.Now()
	switch {
	case ended && !r.again:
		a.remove(r)
		a.drop(DropEnded)
		return
	case ended:
	case err != nil:
		a.failed++
		r.retries++
		r.tried = now
	default:
		a.replicated++
		r.copied, r.copies, r.retries = started, until, 0
	}
	if r.again {
		r.again, r.retries = false, 0
		a.enqueue(r)
		return
	}
	a.schedule(r, now)
}
