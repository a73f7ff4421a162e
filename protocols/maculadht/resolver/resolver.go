package resolver

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/found"
)

// Resolver looks keys up among libp2p contacts, never Erlang ones: a lookup that an
// Erlang node causes and another has to answer would have the two wait for each
// other. There is one lookup of a key at a time, and one in Limits.MissLife where
// it finds nothing. What was found is remembered, and kept fresh while it is asked
// for. It is safe for concurrent use.
type Resolver struct {
	lookups *lookup.Lookups
	limits  Limits
	tracer  MetricsTracer

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // lookups, and answers that wait

	mu         sync.Mutex
	closed     bool
	keys       map[string]*entry
	byUse      list.List // of *entry, who was asked for longest ago first
	bytes      int       // of all entries
	asked      list.List // of *search, lookups that somebody asked for, oldest first
	lookingUp  shares    // them
	refreshing shares    // lookups that nobody asked for, and checks
	waiting    shares    // answers
	followed   shares    // keys
	follower   Follower  // nil for none
	count      Stats
}

// entry is what is known of a key. All of it but the key is guarded by Resolver.mu.
type entry struct {
	key   string
	use   *list.Element
	asked time.Time // last, by somebody else than us
	by    records.Source

	values []records.Record // of others, replaced and never written to
	hit    bool             // there were values, be it only our own
	until  time.Time        // that is recent until then; zero for never looked up
	cost   int

	near      []routing.Contact // who missed, nearest to the key first; of a miss
	checked   int               // how often they were asked again
	nextCheck time.Time         // not before
	checking  bool

	following  Following      // nil for none
	followedBy records.Source // whose share that takes
	stale      bool           // it has changed since it was last looked up

	search *search     // under way; nil for none
	began  time.Time   // when the last search did
	timer  *time.Timer // ticks when it is to be refreshed or forgotten; nil before the first lookup has ended
}

// search is a lookup under way.
type search struct {
	started time.Time
	source  records.Source // whose share it takes
	refresh bool           // nobody asked for it
	place   *list.Element  // in Resolver.asked; nil for a refresh, and where it gave way
	gaveWay bool           // it was ended for another's
	cancel  context.CancelFunc
	found   merger
	waiters map[*waiter]struct{}
}

// waiter is an answer that waits for a lookup.
type waiter struct {
	source records.Source
	done   func([]records.Record)
	timer  *time.Timer
}

const (
	// entryOverhead and recordOverhead are about what an entry, and a record of it,
	// cost beside their bytes.
	entryOverhead  = 512
	recordOverhead = 160

	// unheardLife is how long is remembered that nobody could be asked.
	unheardLife = time.Second
	// ownMissLife is how long a miss of our own lookups is remembered.
	ownMissLife = 5 * time.Second
	// soonestRefresh is the shortest time after which a key is looked up again.
	soonestRefresh = 5 * time.Second
	// nearest is how many of those nearest to a missed key are asked again, firstCheck
	// after how long, doubled each time, and checkTime how long they may take.
	nearest    = 3
	firstCheck = 250 * time.Millisecond
	checkTime  = time.Second
	// contactOverhead is about what one of them costs.
	contactOverhead = 512

	// refreshAgain is after how long a refresh is tried again for which there was
	// no room.
	refreshAgain = time.Second
)

// New returns a resolver of these lookups. Close it before their network.
func New(lookups *lookup.Lookups, opts ...Option) (*Resolver, error) {
	cfg := config{limits: DefaultLimits(), tracer: noTracer{}}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("resolver: a nil option")
		}
		if err := opt(&cfg); err != nil {
			return nil, fmt.Errorf("resolver: %w", err)
		}
	}
	r := &Resolver{
		lookups: lookups,
		limits:  cfg.limits,
		tracer:  cfg.tracer,
		keys:    make(map[string]*entry),
	}
	l := cfg.limits
	r.lookingUp = newShares(share{l.Lookups, l.LookupsPerGroup, l.LookupsPerSource}, RefusedLookups, RefusedLookupsGroup, RefusedSource)
	r.refreshing = newShares(share{l.Refreshes, l.RefreshesPerGroup, l.RefreshesPerSource})
	r.waiting = newShares(share{l.Waiters, l.WaitersPerGroup, l.WaitersPerSource}, RefusedWaiters, RefusedWaitersGroup, RefusedWaitersSource)
	r.followed = newShares(share{l.Followed, l.FollowedPerGroup, l.FollowedPerSource})
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close ends the lookups and waits for them; answers that wait get what there is.
// What was found is forgotten, and nothing is looked up any more.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.tasks.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.keys {
		r.remove(e)
	}
}

// local reports whether a key is of this node only: what gateways register under is
// for those that ask them.
func local(key []byte) bool { return wire.IsGatewayKey(key) }

// Known returns what is known to be stored elsewhere under a key, and whether that
// is recent, so that it need not be looked up. Of a lookup that takes longer than the
// asker waits it is what has been found so far. It returns at once. The records must
// not be modified, and some may have expired; of those that this node has itself as
// fresh not all are among them.
func (r *Resolver) Known(key []byte, asker records.Asker) (elsewhere []records.Record, recent bool) {
	if local(key) {
		return nil, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.keys[string(key)]
	if e == nil {
		return nil, false
	}
	now := time.Now()
	r.use(e, now, asker.Source)
	switch {
	case now.Before(e.until):
		r.check(e, now)
		return e.values, true
	case e.search != nil && now.Sub(e.search.started) >= r.patience(asker):
		return e.search.found.records(now), false
	}
	return nil, false
}

// patience returns how long an answer may take.
func (r *Resolver) patience(asker records.Asker) time.Duration {
	if asker.Client {
		return r.limits.Wait
	}
	return r.limits.GatewayWait
}

// use notes that an entry was asked for.
func (r *Resolver) use(e *entry, now time.Time, by records.Source) {
	e.asked, e.by = now, by
	r.byUse.MoveToBack(e.use)
}

// Resolve looks a key up, or joins those who do. Unless done is nil it is called
// once with the records that were found, here and elsewhere, longest life first, which
// must not be modified: when the lookup has ended, or after Limits.Wait or GatewayWait,
// be that before Resolve returns. The lookup goes on then, and is remembered.
//
// It reports false, and does not call done, where a limit does not allow for it: the
// asker's source is whose share it takes. It does not keep key.
func (r *Resolver) Resolve(key []byte, asker records.Asker, done func(found []records.Record)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || local(key) {
		return false
	}
	if done != nil {
		if why, ok := r.waiting.take(asker.Source); !ok {
			r.refuse(why)
			return false
		}
	}
	e := r.keys[string(key)]
	if e == nil || e.search == nil {
		if why, ok := r.lookingUp.allow(asker.Source); !ok && (why != RefusedLookups || !r.makeWay(asker.Source)) {
			if r.refuse(why); done != nil {
				r.waiting.give(asker.Source)
			}
			return false
		}
		r.lookingUp.count(asker.Source)
		if e == nil {
			e = r.add(string(key))
		}
		r.count.Lookups++
		s := &search{source: asker.Source}
		s.place = r.asked.PushBack(s)
		r.start(e, s)
	}
	r.use(e, time.Now(), asker.Source)
	if done != nil {
		r.wait(e.search, asker, done)
	}
	return true
}

// makeWay ends the oldest lookup of the IP group that has most under way, for one of a
// group that has fewer even with it: who has lookups that do not end can not keep
// others from theirs. It reports whether there is such a group.
func (r *Resolver) makeWay(source records.Source) bool {
	heaviest, ok := r.lookingUp.heavier(source)
	if !ok {
		return false
	}
	for at := r.asked.Front(); at != nil; at = at.Next() {
		s := at.Value.(*search)
		if groupOf(s.source) != heaviest {
			continue
		}
		r.asked.Remove(at)
		r.lookingUp.give(s.source)
		s.place, s.gaveWay = nil, true
		s.cancel()
		r.refuse(RefusedGaveWay)
		return true
	}
	return false
}

func (r *Resolver) refuse(limit Refusal) {
	r.count.Refused++
	r.tracer.Refused(limit)
}

// add makes an entry.
func (r *Resolver) add(key string) *entry {
	e := &entry{key: key}
	e.use = r.byUse.PushBack(e)
	r.keys[key] = e
	r.tracer.Changed(1, 0)
	r.charge(e, entryOverhead+2*len(key))
	return e
}

// charge sets what an entry costs.
func (r *Resolver) charge(e *entry, cost int) {
	r.bytes += cost - e.cost
	r.tracer.Changed(0, cost-e.cost)
	e.cost = cost
}

// remove forgets an entry.
func (r *Resolver) remove(e *entry) {
	if e.timer != nil {
		e.timer.Stop()
	}
	r.unfollow(e)
	r.charge(e, 0)
	r.byUse.Remove(e.use)
	delete(r.keys, e.key)
	r.tracer.Changed(-1, 0)
}

// shrink forgets what was asked for longest ago until the rest is within the limits.
// What is being looked up stays; its number is limited too.
func (r *Resolver) shrink() {
	for at := r.byUse.Front(); at != nil && (len(r.keys) > r.limits.Keys || r.bytes > r.limits.Bytes); {
		e := at.Value.(*entry)
		at = at.Next()
		if e.search == nil {
			r.remove(e)
		}
	}
}

// start begins a lookup.
func (r *Resolver) start(e *entry, s *search) {
	s.started = time.Now()
	e.began, e.stale = s.started, false
	s.waiters = make(map[*waiter]struct{})
	s.found.limit = r.limits.BytesPerKey
	e.search = s
	r.shrink()
	ctx, cancel := context.WithTimeout(r.ctx, r.limits.LookupTime)
	s.cancel = cancel
	r.tasks.Go(func() {
		defer cancel()
		out, _ := r.lookups.Search(ctx, lookup.Search{
			Key:       []byte(e.key),
			PeersOnly: true,
			Alpha:     r.limits.Alpha,
			MaxBytes:  r.limits.BytesPerKey,
			OnValues:  s.found.add,
		})
		r.tracer.LookedUp(s.refresh, len(out.Values) > 0, time.Since(s.started))
		r.end(e, s, out)
	})
}

// wait has an answer, which counts as one that waits, wait for a lookup.
func (r *Resolver) wait(s *search, asker records.Asker, done func([]records.Record)) {
	w := &waiter{source: asker.Source, done: done}
	s.waiters[w] = struct{}{}
	r.tasks.Add(1)
	w.timer = time.AfterFunc(r.patience(asker), func() {
		defer r.tasks.Done()
		r.mu.Lock()
		_, waits := s.waiters[w]
		if waits {
			delete(s.waiters, w)
			r.waiting.give(w.source)
		}
		r.mu.Unlock()
		if waits {
			r.answer(w, s.found.records(time.Now()), OutcomePartial, OutcomeLate)
		}
	})
}

// answer tells a waiter what was found; nothing is locked.
func (r *Resolver) answer(w *waiter, found []records.Record, some, none Outcome) {
	if len(found) > 0 {
		none = some
	}
	r.tracer.Answered(none)
	w.done(found)
}

// end takes in what a lookup has found.
func (r *Resolver) end(e *entry, s *search, out *lookup.Found) {
	all := make([]records.Record, len(out.Values))
	for i, v := range out.Values {
		all[i] = v.Record()
	}
	values, size := r.elsewhere(e.key, all)
	heard := false
	for _, hop := range out.Hops {
		heard = heard || hop.Err == nil
	}

	r.mu.Lock()
	e.search = nil
	switch {
	case s.refresh:
		r.refreshing.give(s.source)
	case s.gaveWay:
		heard = false // not by all who are to be
	default:
		r.asked.Remove(s.place)
		r.lookingUp.give(s.source)
	}
	now := time.Now()
	change := found.Differ(e.values, values)
	if heard || len(all) > 0 || !now.Before(e.until) { // else what is known is better
		e.values, e.hit, e.near = values, len(all) > 0, nil
		switch {
		case e.hit:
			e.until = now.Add(r.limits.HitLife)
			if last := all[0].Expires; last.Before(e.until) {
				e.until = last
			}
		case heard:
			size += e.missed(now, r.limits.MissLife, out.Closest)
		default:
			e.until = now.Add(min(unheardLife, r.limits.MissLife))
		}
		r.charge(e, entryOverhead+2*len(e.key)+size)
	}
	switch {
	case e.hit && heard:
		r.follow(e, out.Closest, change)
	case !e.hit:
		r.unfollow(e)
	}
	r.schedule(e, now, all)
	r.shrink()
	waiters := s.waiters
	s.waiters = nil
	some, none := OutcomeFound, OutcomeMissed
	if s.gaveWay {
		some, none = OutcomePartial, OutcomeLate
	}
	for w := range waiters {
		r.waiting.give(w.source)
	}
	r.mu.Unlock()
	for w := range waiters {
		if w.timer.Stop() {
			r.tasks.Done()
		}
		r.answer(w, all, some, none)
	}
}

// missed notes that there is nothing, nor will be for so long, by what the nearest
// contacts have said, and returns what they cost.
func (e *entry) missed(now time.Time, life time.Duration, closest []routing.Contact) (size int) {
	e.until = now.Add(life)
	e.near = slices.Clone(closest[:min(nearest, len(closest))])
	e.checked, e.nextCheck = 0, now.Add(firstCheck)
	return len(e.near) * contactOverhead
}

// Missed tells that a lookup of this node's own has found nothing at libp2p contacts,
// of which closest are the nearest that answered: an Erlang gateway that is asked next
// asks back, and is to be answered at once. It is remembered for 5 s at most.
func (r *Resolver) Missed(key []byte, closest []routing.Contact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e := r.keys[string(key)]
	if r.closed || local(key) || e != nil && (e.search != nil || now.Before(e.until)) {
		return
	}
	if e == nil {
		e = r.add(string(key))
	}
	e.values, e.hit = nil, false
	size := e.missed(now, min(ownMissLife, r.limits.MissLife), closest)
	r.charge(e, entryOverhead+2*len(e.key)+size)
	r.byUse.MoveToBack(e.use)
	r.schedule(e, now, nil)
	r.shrink()
}

// schedule has an entry looked at again: a hit at three quarters of its time, or of
// that of the value that ends first, anything else when it is not recent any more.
func (r *Resolver) schedule(e *entry, now time.Time, found []records.Record) {
	next := e.until.Sub(now)
	if e.hit {
		next = next * 3 / 4
		if n := len(found); n > 0 { // longest life first
			next = min(next, max(found[n-1].Expires.Sub(now)*3/4, soonestRefresh))
		}
		next = max(next, refreshAgain)
	}
	if e.stale {
		next = min(next, e.refreshIn(now))
	}
	if e.timer == nil {
		e.timer = time.AfterFunc(next, func() { r.tick(e) })
		return
	}
	e.timer.Reset(next)
}

// tick refreshes an entry that is still asked for, and forgets one whose time is
// over.
func (r *Resolver) tick(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.keys[e.key] != e || e.search != nil {
		return
	}
	now := time.Now()
	left := e.until.Sub(now)
	wanted := e.hit && now.Sub(e.asked) < r.limits.KeepFresh
	if wanted && r.refresh(e) {
		return
	}
	if e.stale && !wanted { // who asks next has it looked up
		left = 0
	}
	switch {
	case left <= 0:
		r.remove(e)
	case wanted:
		e.timer.Reset(min(left, refreshAgain))
	default:
		e.timer.Reset(left)
	}
}

// refresh looks a key up anew that nobody waits for, if there is room for that.
func (r *Resolver) refresh(e *entry) bool {
	if _, ok := r.refreshing.take(e.by); !ok {
		return false
	}
	r.count.Refreshes++
	r.start(e, &search{source: e.by, refresh: true})
	return true
}

// check asks those nearest to a key that was missed a short while ago, and is asked
// for again, whether they have it now, ever less often: who waits for something to be
// stored asks too early, and is not to wait for Limits.MissLife. If one has it, it is
// looked up.
func (r *Resolver) check(e *entry, now time.Time) {
	if len(e.near) == 0 || now.Before(e.nextCheck) || e.checking || e.search != nil || r.closed {
		return
	}
	by := e.by
	if _, ok := r.refreshing.take(by); !ok {
		return
	}
	e.checking = true
	e.checked++
	e.nextCheck = now.Add(firstCheck << e.checked)
	r.count.Checks++
	near := e.near
	r.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, checkTime)
		defer cancel()
		answers := make(chan bool, len(near))
		for _, c := range near {
			r.tasks.Go(func() {
				reply, err := r.lookups.Query(ctx, c, &wire.FindValue{Key: []byte(e.key)})
				m, ok := reply.(*wire.FindValueReply)
				answers <- err == nil && ok && len(m.Values) > 0
			})
		}
		stored := false
		for range near {
			if stored = <-answers; stored {
				break
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		e.checking = false
		r.refreshing.give(by)
		if stored && !r.closed && r.keys[e.key] == e && e.search == nil {
			r.refresh(e)
		}
	})
}

// elsewhere returns the records that this node does not have itself, or has older,
// as many as may be remembered under one key, and what they cost.
func (r *Resolver) elsewhere(key string, found []records.Record) (elsewhere []records.Record, size int) {
	own := make(map[string]records.Record)
	// A store that can not be read has nothing that others could be spared.
	local, _ := r.lookups.Server().Records().Values(r.ctx, []byte(key))
	for i := range local {
		own[local[i].Provider()] = local[i]
	}
	for i := range found {
		f := &found[i]
		if mine, there := own[f.Provider()]; there && !f.IsFresher(&mine) {
			continue
		}
		if size+cost(f) > r.limits.BytesPerKey {
			continue
		}
		size += cost(f)
		elsewhere = append(elsewhere, *f)
	}
	return elsewhere, size
}
