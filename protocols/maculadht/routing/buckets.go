package routing

import (
	"bytes"
	"slices"
)

// buckets holds contacts by how many leading bits of their id they share with
// self. It is the mechanism under Table and guests, which add their rules and
// their locks. The contacts are immutable; a refresh puts a new one.
type buckets struct {
	self  ID
	lists [IDBits][]*Contact // least recently put first
	count counts
}

// counts are how many contacts of each kind there are.
type counts struct{ peers, erlang int }

func (n counts) all() int { return n.peers + n.erlang }

func (n *counts) add(c *Contact, d int) {
	if c.IsErlang() {
		n.erlang += d
	} else {
		n.peers += d
	}
}

// in returns the bucket of id, which is not self.
func (b *buckets) in(id ID) *[]*Contact {
	return &b.lists[b.self.CommonPrefixLen(id)]
}

// get returns the contact with this id, or nil.
func (b *buckets) get(id ID) *Contact {
	if id == b.self {
		return nil
	}
	bucket := *b.in(id)
	if i := indexID(bucket, id); i >= 0 {
		return bucket[i]
	}
	return nil
}

// put places c at its bucket's tail, instead of the contact with the same id.
func (b *buckets) put(c *Contact) {
	b.remove(c.ID)
	bucket := b.in(c.ID)
	*bucket = append(*bucket, c)
	b.count.add(c, +1)
}

// replace puts c in the place of the contact with its id, which is there.
func (b *buckets) replace(c *Contact) {
	bucket := *b.in(c.ID)
	bucket[indexID(bucket, c.ID)] = c
}

// remove takes the contact with this id out and reports whether there was one.
func (b *buckets) remove(id ID) bool {
	if id == b.self {
		return false
	}
	bucket := b.in(id)
	i := indexID(*bucket, id)
	if i < 0 {
		return false
	}
	b.count.add((*bucket)[i], -1)
	*bucket = slices.Delete(*bucket, i, i+1)
	return true
}

// all returns a copy of every contact, those farthest from self first.
func (b *buckets) all() []Contact {
	out := make([]Contact, 0, b.count.all())
	for _, bucket := range b.lists {
		for _, c := range bucket {
			out = append(out, *c)
		}
	}
	return out
}

// collect offers near the contacts bucket by bucket, in an order in which all of
// one are nearer to the target than any of the next, until that is enough.
//
// Let d = self XOR target. A contact of bucket i agrees with self in the bits
// before i and differs in bit i, so its distance from the target is d with bit
// i flipped and the bits after it arbitrary. Where bit i of d is set, that is
// nearer than every deeper bucket (they keep the bit); where it is clear, it is
// farther than all of them. So: set bits from the left, then clear bits from
// the right.
func (b *buckets) collect(near *nearest) {
	d := b.self.Distance(near.target)
	for i := range b.lists {
		if d.bit(i) && !near.offerAll(b.lists[i]) {
			return
		}
	}
	for i := len(b.lists) - 1; i >= 0; i-- {
		if !d.bit(i) && !near.offerAll(b.lists[i]) {
			return
		}
	}
}

func indexID(bucket []*Contact, id ID) int {
	return slices.IndexFunc(bucket, func(c *Contact) bool { return c.ID == id })
}

// nearest gathers the contacts nearest to a target, nearest first.
type nearest struct {
	target   ID
	limit    int                 // at least 1
	skip     func(*Contact) bool // nil, or tells whom to leave out
	perGroup int                 // how many of one IP group are found before others; 0 for any number
	found    []candidate
	spare    []candidate // those beyond their group's share, for places that nobody else takes
}

type candidate struct {
	distance ID
	contact  *Contact
}

// offerAll offers each contact of a bucket. It reports false when one of them
// was too far, and so is every contact of the buckets that follow.
func (n *nearest) offerAll(bucket []*Contact) bool {
	more := true
	for _, c := range bucket {
		if !n.offer(c) {
			more = false
		}
	}
	return more
}

// offer keeps c if it is among the nearest so far. It reports false when the
// list is full of nearer ones.
func (n *nearest) offer(c *Contact) bool {
	d := n.target.Distance(c.ID)
	at := len(n.found)
	// From the far end, where most belong: later buckets are farther.
	for at > 0 && bytes.Compare(d[:], n.found[at-1].distance[:]) < 0 {
		at--
	}
	if at == n.limit {
		return false
	}
	if n.skip != nil && n.skip(c) {
		return true
	}
	if n.perGroup > 0 && c.group.IsValid() {
		share, last := 0, -1
		for i := range n.found {
			if n.found[i].contact.group == c.group {
				share, last = share+1, i
			}
		}
		switch {
		case share < n.perGroup:
		case last < at:
			n.spare = insert(n.spare, candidate{d, c}, n.limit)
			return true
		default: // it is nearer than the last of its group
			n.spare = insert(n.spare, n.found[last], n.limit)
			n.found = slices.Delete(n.found, last, last+1)
		}
	}
	if len(n.found) == n.limit {
		n.found = n.found[:n.limit-1]
	}
	n.found = slices.Insert(n.found, at, candidate{d, c})
	return true
}

// fillUp gives the places that nobody else has taken to those beyond their group's share.
func (n *nearest) fillUp() {
	for _, c := range n.spare[:min(len(n.spare), n.limit-len(n.found))] {
		n.found = insert(n.found, c, n.limit)
	}
	clear(n.spare)
	n.spare = n.spare[:0]
}

// reset forgets what was found, and keeps the memory for it.
func (n *nearest) reset() {
	clear(n.found)
	n.found = n.found[:0]
}

// insert puts c into a list, nearest first, of limit at most.
func insert(list []candidate, c candidate, limit int) []candidate {
	at, _ := slices.BinarySearchFunc(list, c, func(a, b candidate) int { return bytes.Compare(a.distance[:], b.distance[:]) })
	if at == limit {
		return list
	}
	return slices.Insert(list[:min(len(list), limit-1)], at, c)
}

// contacts returns copies of what was found.
func (n *nearest) contacts() []Contact {
	out := make([]Contact, len(n.found))
	for i, f := range n.found {
		out[i] = *f.contact
	}
	return out
}
