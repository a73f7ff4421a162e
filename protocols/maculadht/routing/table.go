package routing

import (
	"cmp"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

// BucketSize is k: how many contacts a bucket holds, and how many nodes a
// FIND_NODE reply names at most.
const BucketSize = 20

// Why a contact was not added.
var (
	// ErrSelf means that the contact has our own id.
	ErrSelf = errors.New("contact has our own id")
	// ErrBucketFull means that the contact's bucket is full. Those in it stay:
	// a contact that has lived long is the likeliest to live on.
	ErrBucketFull = errors.New("bucket full")
	// ErrIDTaken means that another node with a better claim holds the id or
	// the endpoint.
	ErrIDTaken = errors.New("id or endpoint belongs to another contact")
	// ErrCrowded means that the contact's IP group has its share, and that the contact's
	// id proves nothing, or its bucket is full.
	ErrCrowded = errors.New("too many contacts of one IP group")
)

// Table is a Kademlia routing table: contacts in 256 buckets, by the length of
// the id prefix that they share with self. It is safe for concurrent use.
//
// Whoever finds its bucket full goes into the bucket's replacement cache, and enters
// when one of those in it has died. An upkeep (package upkeep) sees to that, and is
// told of the table's changes.
//
// Of one IP group only so many have a place of their own, in a bucket and in the table
// (package diversity). More of its libp2p contacts are held only in places that nobody
// else wants, and give them up to anybody: a small honest mesh in one network still works,
// and nobody is kept out by many peer ids of one machine.
type Table struct {
	size   int
	limits diversity.Limits
	tracer MetricsTracer
	spare  sync.Pool // of *nearest, for AppendNearestPeers

	mu           sync.RWMutex
	buckets      buckets
	endpoints    map[string]ID // of the Erlang contacts
	clients      map[string]ID // of those whose ClientID is known
	groups       groupCounts   // of those that have a place of their own
	replacements replacementCache
	dropped      pastContacts // as they did not answer
	removed      pastContacts // by Remove
	changes      changes
	watch        func(c Contact, in bool)
}

// NewTable returns an empty table around self with room for bucketSize contacts
// in each bucket; below 1 it means [BucketSize]. Of one IP group it takes as many
// contacts as [diversity.Defaults] says.
func NewTable(self ID, bucketSize int) *Table {
	if bucketSize < 1 {
		bucketSize = BucketSize
	}
	return &Table{
		size:         bucketSize,
		limits:       diversity.Defaults(),
		tracer:       noTracer{},
		buckets:      buckets{self: self},
		endpoints:    make(map[string]ID),
		clients:      make(map[string]ID),
		groups:       make(groupCounts),
		replacements: make(replacementCache),
		changes:      newChanges(),
	}
}

// Add inserts c at the tail of its bucket, or refreshes the contact with its
// id: moves it to the tail and takes everything from c, except that a node once
// verified stays so, and that neither a ClientID, nor a StoreID, nor when it answered
// is forgotten.
//
// An Erlang contact also replaces those that have its endpoint, or its ClientID,
// under another id; where it names itself by that ClientID alone, it goes on as
// the contact that has it. Add fails with [ErrSelf], [ErrCrowded],
// [ErrBucketFull], or [ErrIDTaken] when that would push out a contact with a
// better claim: a verified libp2p contact yields to no other identity, and no
// verified contact to an unverified one. A failed Add takes nobody in and nobody
// out; after ErrBucketFull a verified contact is in the replacement cache. For a verified
// contact a bucket is not full while there is one in it that is more than its IP group's
// share, and for a libp2p one not while there is an Erlang one.
func (t *Table) Add(c Contact) error {
	if c.ID == t.buckets.self {
		return ErrSelf
	}
	added := c.clone()
	added.settle()

	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.traceSize(t.buckets.count)
	return t.add(added)
}

// traceSize tells how many contacts there are, if there were another number.
func (t *Table) traceSize(before counts) {
	if now := t.buckets.count; now != before {
		t.tracer.TableSize(now.peers, now.erlang)
	}
}

func (t *Table) add(added *Contact) error {
	t.recognize(added)
	added.group = t.limits.Group(added.ip())
	known := t.buckets.get(added.ID)
	rivals := t.rivals(added)
	if known != nil {
		if known.sameNode(added) {
			added.Verified = added.Verified || known.Verified
			added.ClientID = cmp.Or(added.ClientID, known.ClientID)
			added.since = known.since // zero where nothing had to be proved
			if added.StoreID == nil {
				added.StoreID = known.StoreID
			}
			if added.Answered.IsZero() {
				added.Answered = known.Answered
			}
		} else if !known.yieldsTo(added) {
			return ErrIDTaken
		}
	}
	for _, rival := range rivals {
		if !rival.yieldsTo(added) {
			return ErrIDTaken
		}
	}
	added.proveAddrs(time.Now())
	added.crowded = t.crowds(added, known, rivals)
	if added.crowded && added.IsErlang() {
		return ErrCrowded
	}
	var displaced *Contact
	if known == nil && !t.hasRoom(added, rivals) {
		displaced = t.displaceable(added)
		switch {
		case displaced != nil:
		case added.crowded:
			return ErrCrowded
		default:
			if added.Verified {
				t.replacements.put(t.bucketOf(added.ID), added, t.limits.PerBucket)
				t.changes.bucketFull(t.bucketOf(added.ID))
			}
			return ErrBucketFull
		}
	}

	for _, rival := range rivals {
		t.remove(rival)
	}
	if displaced != nil {
		t.remove(displaced)
	}
	if known != nil {
		t.remove(known)
	}
	t.buckets.put(added)
	t.moved(added, true)
	t.groups.count(added, +1)
	t.replacements.drop(t.bucketOf(added.ID), added.ID)
	if added.IsErlang() && added.Endpoint != "" {
		t.endpoints[added.Endpoint] = added.ID
	}
	if added.ClientID != "" {
		t.clients[added.ClientID] = added.ID
	}
	t.noteArrival(added, known)
	for _, left := range append(rivals, known, displaced) {
		if left != nil {
			t.promote(left)
		}
	}
	for _, rival := range rivals {
		t.fill(t.bucketOf(rival.ID))
	}
	return nil
}

// noteArrival notes that a contact is new, or back, which known was before.
func (t *Table) noteArrival(added, known *Contact) {
	if !added.Verified {
		return
	}
	dropped, removed := t.dropped.take(added.ID), t.removed.take(added.ID)
	switch {
	case dropped != nil, removed != nil && removed.lostStore(added):
		t.changes.note(t.changes.returned, added.ID)
	case known == nil || !known.Verified || !known.sameNode(added):
		t.changes.note(t.changes.joined, added.ID)
	case known.wasAway(), known.lostStore(added):
		t.changes.note(t.changes.returned, added.ID)
	}
}

// bucketOf returns the number of an id's bucket; id is not self.
func (t *Table) bucketOf(id ID) int { return t.buckets.self.CommonPrefixLen(id) }

// recognize has an Erlang node that names itself by its ClientID go on as the
// contact that is known to have that one: under the id, and at the endpoint if
// that still answers, by which it is known already.
func (t *Table) recognize(c *Contact) {
	id, there := t.clients[c.ClientID]
	if !there || c.ClientID == "" || !c.namedByClientID() {
		return
	}
	known := t.buckets.get(id)
	c.ID, c.NodeID = known.ID, known.NodeID
	if known.failures == 0 {
		c.Endpoint, c.Addrs = known.Endpoint, known.Addrs
	}
}

// rivals returns the Erlang contacts that are c, by its endpoint or its ClientID,
// under another id.
func (t *Table) rivals(c *Contact) []*Contact {
	if !c.IsErlang() {
		return nil
	}
	var rivals []*Contact
	if id, ok := t.endpoints[c.Endpoint]; ok && id != c.ID {
		rivals = append(rivals, t.buckets.get(id))
	}
	if id, ok := t.clients[c.ClientID]; ok && c.ClientID != "" && id != c.ID && (len(rivals) == 0 || rivals[0].ID != id) {
		rivals = append(rivals, t.buckets.get(id))
	}
	return rivals
}

// hasRoom reports whether c's bucket has a place, be it one that a rival leaves.
func (t *Table) hasRoom(c *Contact, rivals []*Contact) bool {
	bucket := t.buckets.in(c.ID)
	return len(*bucket) < t.size || slices.ContainsFunc(rivals, func(r *Contact) bool { return t.buckets.in(r.ID) == bucket })
}

func (t *Table) remove(c *Contact) {
	t.buckets.remove(c.ID)
	t.moved(c, false)
	t.groups.count(c, -1)
	if c.IsErlang() {
		delete(t.endpoints, c.Endpoint)
	}
	if c.ClientID != "" {
		delete(t.clients, c.ClientID)
	}
}

// displaceable returns the contact that gives its place up to a verified contact whose
// bucket is full, or nil: one that is more than its IP group's share and, to a libp2p
// contact, an Erlang one; of those the one that was silent longest. Lookups go from one
// libp2p contact to the next, and would end where Erlang nodes, of which a network may
// have many more, have all places.
func (t *Table) displaceable(c *Contact) *Contact {
	if !c.Verified || c.crowded {
		return nil
	}
	bucket := *t.buckets.in(c.ID)
	if i := slices.IndexFunc(bucket, func(o *Contact) bool { return o.crowded }); i >= 0 {
		return bucket[i]
	}
	if c.IsErlang() {
		return nil
	}
	if i := slices.IndexFunc(bucket, func(o *Contact) bool { return o.IsErlang() }); i >= 0 {
		return bucket[i]
	}
	return nil
}

// removeAndFill takes a contact out and lets another have the place.
func (t *Table) removeAndFill(c *Contact) {
	t.remove(c)
	t.promote(c)
	t.fill(t.bucketOf(c.ID))
}

// Watch has f called for each contact that is in the table, and from then on for each
// that enters or leaves, until f is replaced; nil for nobody. It is called with the
// table locked: it must be quick, and not use the table.
func (t *Table) Watch(f func(c Contact, in bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch = f
	for _, c := range t.buckets.all() {
		t.moved(&c, true)
	}
}

func (t *Table) moved(c *Contact, in bool) {
	if t.watch != nil {
		t.watch(*c, in)
	}
}

// fill gives the free place of a bucket, if it has one, to whoever came last of
// those that found it full, those last that are more than their IP group's share by now.
// One that is in the table under another id by now waits in vain.
func (t *Table) fill(bucket int) {
	if len(t.buckets.lists[bucket]) >= t.size {
		return
	}
	queue := t.replacements.take(bucket)
	slices.SortStableFunc(queue, func(a, b *Contact) int {
		return t.behind(a) - t.behind(b)
	})
	for i, next := range queue {
		if len(t.rivals(next)) == 0 && t.add(next) == nil {
			t.replacements.restore(bucket, queue[i+1:])
			return
		}
	}
}

// Remove takes the contact with this id out and reports whether there was one.
func (t *Table) Remove(id ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.traceSize(t.buckets.count)
	c := t.buckets.get(id)
	if c == nil {
		t.replacements.drop(t.bucketOf(id), id)
		t.dropped.take(id)
		return false
	}
	t.removed.add(c)
	t.removeAndFill(c)
	return true
}

// Get returns the contact with this id.
func (t *Table) Get(id ID) (Contact, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if c := t.buckets.get(id); c != nil {
		return *c, true
	}
	return Contact{}, false
}

// Nearest returns the n contacts nearest to target of all in the table, nearest
// first; fewer when it holds fewer.
func (t *Table) Nearest(target ID, n int) []Contact {
	return t.nearest(target, n, nil)
}

// NearestPeers is Nearest of the libp2p contacts alone.
func (t *Table) NearestPeers(target ID, n int) []Contact {
	return t.nearest(target, n, (*Contact).isErlang)
}

// NearestErlang is Nearest of the Erlang contacts alone.
func (t *Table) NearestErlang(target ID, n int) []Contact {
	return t.nearest(target, n, (*Contact).isPeer)
}

// AppendNearestPeers appends to ids those of the [BucketSize] libp2p contacts
// nearest to target, nearest first, no more of one IP group than its share unless nobody
// else is left. It allocates nothing where ids has room.
func (t *Table) AppendNearestPeers(ids []ID, target ID) []ID {
	near, _ := t.spare.Get().(*nearest)
	if near == nil {
		near = &nearest{limit: BucketSize, skip: (*Contact).isErlang, perGroup: t.limits.PerList, found: make([]candidate, 0, BucketSize)}
	}
	near.target = target
	t.collect(near)
	near.fillUp()
	for _, f := range near.found {
		ids = append(ids, f.contact.ID)
	}
	near.reset() // it keeps nobody in memory
	t.spare.Put(near)
	return ids
}

// nearest is Nearest without the contacts to skip, if that is not nil.
func (t *Table) nearest(target ID, n int, skip func(*Contact) bool) []Contact {
	if n < 1 {
		return nil
	}
	near := nearest{target: target, limit: n, skip: skip, found: make([]candidate, 0, min(n, t.Len()))}
	t.collect(&near)
	return near.contacts()
}

// listed returns the n contacts nearest to target but for those to skip, no more of one
// IP group than its share unless nobody else is left; the caller holds mu.
func (t *Table) listed(target ID, n int, skip func(*Contact) bool) *nearest {
	near := &nearest{target: target, limit: n, skip: skip, perGroup: t.limits.PerList, found: make([]candidate, 0, min(n, t.buckets.count.all()))}
	t.buckets.collect(near)
	near.fillUp()
	return near
}

// collect offers near every contact that may be near enough.
func (t *Table) collect(near *nearest) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	t.buckets.collect(near)
}

// Len returns how many contacts the table holds.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.buckets.count.all()
}

// counts returns how many contacts there are of each kind, and how many are doubtful.
func (t *Table) counts() (n counts, doubtful int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := range t.buckets.lists {
		for _, c := range t.buckets.lists[i] {
			if c.Doubtful() {
				doubtful++
			}
		}
	}
	return t.buckets.count, doubtful
}

// All returns a copy of every contact, bucket by bucket, those farthest from
// self first.
func (t *Table) All() []Contact {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.buckets.all()
}

// MaxFailures is how many questions in a row a contact may leave unanswered
// before it is taken out.
const MaxFailures = 3

// AwayAfter is for how long a contact must have been doubtful to count as one that
// was away, when it speaks again.
const AwayAfter = time.Minute

// Alive notes that a contact answered: it moves to its bucket's tail.
func (t *Table) Alive(id ID, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.buckets.get(id)
	if old == nil {
		return
	}
	c := *old
	c.LastSeen, c.Answered = now, now
	c.settle()
	if len(c.unproven) > 0 {
		c.proveAddrs(time.Now())
	}
	t.buckets.put(&c)
	if old.Verified && old.wasAway() {
		t.changes.note(t.changes.returned, id)
	}
}

// Doubt notes that a contact let a lookup wait, which ended before it was known
// whether it answers at all, or that its connection ended. It is asked for a sign
// of life soon. Nothing is noted where it has spoken since the time at which it was
// asked, or at which the connection ended.
func (t *Table) Doubt(id ID, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.buckets.get(id)
	if old == nil || at.Before(old.LastSeen) {
		return
	}
	c := *old
	c.doubted = true
	c.doubt()
	t.buckets.replace(&c)
	if !old.doubted {
		t.changes.note(t.changes.doubted, id)
	}
}

// Readdress gives a libp2p contact, or one that waits for a place, the addresses that
// it is at now; see [ProvenAfter].
func (t *Table) Readdress(id ID, addrs []ma.Multiaddr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	moved := func(old *Contact) *Contact {
		c := *old
		c.Addrs, c.unproven = slices.Clone(addrs), nil
		c.proveAddrs(time.Now())
		return &c
	}
	if old := t.buckets.get(id); old != nil && !old.IsErlang() {
		t.buckets.replace(moved(old))
	}
	for i, waiting := range t.replacements[t.bucketOf(id)] {
		if waiting.ID == id && !waiting.IsErlang() {
			t.replacements[t.bucketOf(id)][i] = moved(waiting)
		}
	}
}

// Failed notes that a contact did not answer a question, or not as it should, and
// takes it out at the MaxFailures-th time in a row: see [Table.Dropped]. It reports
// whether it did. Nothing is noted where the contact has spoken since it was asked,
// be it over another connection; questions that were under way at the same time
// count as one.
func (t *Table) Failed(id ID, asked time.Time) (removed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.traceSize(t.buckets.count)
	old := t.buckets.get(id)
	if old == nil || asked.Before(old.LastSeen) || asked.Before(old.failedAt) {
		return false
	}
	c := *old
	c.failedAt = time.Now()
	c.doubt()
	if c.failures++; c.failures >= MaxFailures {
		t.dropped.add(&c)
		t.removeAndFill(old)
		return true
	}
	t.buckets.replace(&c)
	return false
}

// Depth returns the number of the bucket that the nearest libp2p contact is in,
// 0 where there is none: those before it lie farther away. Others' ids prove
// nothing, and could be as near as they like.
func (t *Table) Depth() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := len(t.buckets.lists) - 1; i >= 0; i-- {
		for _, c := range t.buckets.lists[i] {
			if !c.IsErlang() {
				return i
			}
		}
	}
	return 0
}

// RandomID returns a random id of a bucket's part of the id space: one that shares
// just as many leading bits with self. The bucket is one of 0 to [IDBits]-1.
func (t *Table) RandomID(bucket int) ID {
	var id ID
	rand.Read(id[:]) // never fails
	return t.buckets.self.Beside(bucket, id)
}
