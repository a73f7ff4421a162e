package replication

import (
	"bytes"
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
// stored. There is one job for a record at a time, and sources are served in turn.
// It is safe for concurrent use.
type Adopter struct {
	lookups *lookup.Lookups
	network routing.Network
	limits  Limits
	filter  func(key []byte, value wire.Value) bool
	tracer  MetricsTracer
	rate    *rate.Limiter // of jobs

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // workers

	mu       sync.Mutex
	closed   bool
	records  map[recordID]*adopted
	sources  map[records.Source]*source
	heaviest byWeight  // all sources
	turns    list.List // of *source, those for which something waits; whose turn is next first
	workers  int
	waiting  int // records
	jobs     int // under way

	replicated, failed uint64
	dropped            map[DropReason]uint64
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
	expires time.Time         // as last renewed
	copied  time.Time         // when the copies were made
	copies  time.Time         // when they end; zero for none
	tried   time.Time         // when nobody took it
	retries int               // how often in a row

	state state
	again bool          // it was changed while it was on its way
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
	records list.List // of *adopted, renewed longest ago first
	waiting list.List // of *adopted, in order
	turn    *list.Element
	jobs    int
	place   int // in byWeight
}

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
		sources: make(map[records.Source]*source),
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
}

// Adopt has a value replicated that somebody has stored here, for as long as it is
// renewed by Adopt. It returns at once, and keeps the put's slices without modifying
// them.
func (a *Adopter) Adopt(p records.Put) {
	value := wire.Value{Raw: p.Value, NodeID: p.NodeID, TTL: p.TTL}
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
		r = a.add(&adopted{id: id, key: p.Key, nodeID: p.NodeID, value: digest}, p.Source)
	}
	changed := r.value != digest
	r.value, r.expires = digest, expires
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

// add adopts a record of a source. Where there are too many one goes for it.
func (a *Adopter) add(r *adopted, of records.Source) *adopted {
	s := a.sources[of]
	if s == nil {
		s = &source{name: of}
		a.sources[of] = s
		heap.Push(&a.heaviest, s)
	}
	r.source, r.renewal = s, s.records.PushBack(r)
	heap.Fix(&a.heaviest, s.place)
	a.records[r.id] = r
	a.tracer.Adopted()
	switch {
	case s.records.Len() > a.limits.RecordsPerSource:
		a.remove(s.records.Front().Value.(*adopted))
		a.drop(DropSource)
	case len(a.records) > a.limits.Records:
		a.remove(a.heaviest[0].records.Front().Value.(*adopted))
		a.drop(DropFull)
	}
	return r
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
	r.source.records.Remove(r.renewal)
	heap.Fix(&a.heaviest, r.source.place)
	a.forgetIfIdle(r.source)
}

func (a *Adopter) forgetIfIdle(s *source) {
	if s.records.Len() == 0 && s.jobs == 0 && a.sources[s.name] == s {
		heap.Remove(&a.heaviest, s.place)
		delete(a.sources, s.name)
	}
}

// enqueue has a record replicated when it is its turn.
func (a *Adopter) enqueue(r *adopted) {
	s := r.source
	r.state = waiting
	r.queue = s.waiting.PushBack(r)
	a.waiting++
	if s.turn == nil {
		s.turn = a.turns.PushBack(s)
	}
	if a.workers < a.limits.Jobs && !a.closed {
		a.workers++
		a.tasks.Go(a.work)
	}
}

// unqueue takes a record that waits off the queue of its source.
func (a *Adopter) unqueue(r *adopted) {
	s := r.source
	s.waiting.Remove(r.queue)
	a.waiting--
	if s.waiting.Len() == 0 {
		a.turns.Remove(s.turn)
		s.turn = nil
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
		r := a.take()
		if r == nil {
			return
		}
		started := time.Now()
		until, replicas, err := time.Time{}, (*Replicas)(nil), a.rate.Wait(a.ctx)
		if err == nil {
			started = time.Now()
			until, replicas, err = a.replicate(r)
		}
		a.done(r, started, until, replicas, err)
	}
}

// take returns the record whose turn it is, nil for none.
func (a *Adopter) take() *adopted {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at := a.turns.Front(); at != nil && !a.closed; at = at.Next() {
		s := at.Value.(*source)
		if s.jobs >= a.limits.JobsPerSource {
			continue
		}
		r := s.waiting.Front().Value.(*adopted)
		a.unqueue(r)
		if s.turn != nil {
			a.turns.MoveToBack(s.turn)
		}
		r.state = running
		s.jobs++
		a.jobs++
		return r
	}
	a.workers--
	return nil
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
	value, err := wire.ParseValue(stored.Value)
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

// done notes what came of a job.
func (a *Adopter) done(r *adopted, started, until time.Time, replicas *Replicas, err error) {
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
	s := r.source
	s.jobs--
	a.jobs--
	if r.state == gone {
		a.forgetIfIdle(s)
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

// byWeight is a heap of sources, the one with most records first.
type byWeight []*source

func (w byWeight) Len() int           { return len(w) }
func (w byWeight) Less(i, j int) bool { return w[i].records.Len() > w[j].records.Len() }
func (w byWeight) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].place, w[j].place = i, j
}

// Push implements heap.Interface.
func (w *byWeight) Push(s any) {
	s.(*source).place = len(*w)
	*w = append(*w, s.(*source))
}

// Pop implements heap.Interface.
func (w *byWeight) Pop() any {
	last := len(*w) - 1
	s := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return s
}
