package records

import (
	"bytes"
	"container/heap"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

const (
	memoryShards = 64
	// maxScanned is how many keys one page looks at under a lock.
	maxScanned = 4096
)

// memoryStore is a Store in memory. Lists are replaced, never written to, so a
// reader holds a snapshot without copying it.
type memoryStore struct {
	id     [16]byte
	seed   maphash.Seed
	seq    atomic.Uint64 // of the last key that came
	shards [memoryShards]memoryShard
}

type memoryShard struct {
	mu      sync.RWMutex
	indexes [indexes]memoryIndex
	due     expiryHeap
}

// The indexes of a shard.
const (
	gateways = iota // keys that begin with wire.GatewayPrefix: any peer may ask for them all
	others          // all other keys
	indexes
)

// memoryIndex has keys by name, and in the order in which they came: a place in
// that order is one for as long as a walk may take.
type memoryIndex struct {
	keys  map[string]*memoryEntry
	order []*memoryEntry // with those that are gone, until half of them are
	gone  int            // of order
}

type memoryEntry struct {
	key     string
	recs    []Record // none when it is gone
	seq     uint64
	expires time.Time // the soonest of recs
	at      int       // in the heap
}

// NewMemoryStore returns an empty store that lives in memory. Its methods fail
// only where their context has ended, and its updates are done when they return.
//
// An Update takes time by the records of its key, and by the logarithm of the
// number of keys where their soonest expiry changes. Beside its records, a key
// costs its bytes and about 200 more. A page looks at 4,096 keys at most, so one of
// a prefix that few keys have may be empty; the keys of gateways are apart from
// others, and quickly found. Usage goes through everything: it is asked for while
// the store is new.
func NewMemoryStore() Store {
	m := &memoryStore{seed: maphash.MakeSeed()}
	crand.Read(m.id[:]) // never fails
	for i := range m.shards {
		for j := range m.shards[i].indexes {
			m.shards[i].indexes[j].keys = make(map[string]*memoryEntry)
		}
	}
	return m
}

func (m *memoryStore) shard(key []byte) *memoryShard {
	return &m.shards[maphash.Bytes(m.seed, key)%memoryShards]
}

// index returns the index that key belongs in.
func (s *memoryShard) index(key []byte) *memoryIndex {
	if wire.IsGatewayKey(key) {
		return &s.indexes[gateways]
	}
	return &s.indexes[others]
}

func (m *memoryStore) Get(ctx context.Context, key []byte) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := m.shard(key)
	keys := s.index(key).keys
	var recs []Record
	s.mu.RLock()
	if e := keys[string(key)]; e != nil {
		recs = e.recs
	}
	s.mu.RUnlock()
	return recs, nil
}

func (m *memoryStore) Update(ctx context.Context, key []byte, _ Durability, change func(old []Record) []Record, done func(error)) {
	if err := ctx.Err(); err != nil {
		done(err)
		return
	}
	m.update(key, change)
	done(nil)
}

func (m *memoryStore) update(key []byte, change func(old []Record) []Record) {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.index(key)
	e := x.keys[string(key)]
	var old []Record
	if e != nil {
		old = e.recs
	}
	switch next := change(old); {
	case e == nil && len(next) == 0:
	case e == nil:
		e = &memoryEntry{key: string(key), recs: next, seq: m.seq.Add(1), expires: soonest(next)}
		x.add(e)
		heap.Push(&s.due, e)
	case len(next) == 0:
		heap.Remove(&s.due, e.at)
		x.remove(e)
	case len(next) != len(old) || &next[0] != &old[0]:
		e.recs = next
		if expires := soonest(next); !expires.Equal(e.expires) {
			e.expires = expires
			heap.Fix(&s.due, e.at)
		}
	}
}

func (x *memoryIndex) add(e *memoryEntry) {
	x.keys[e.key] = e
	x.order = append(x.order, e)
}

func (x *memoryIndex) remove(e *memoryEntry) {
	delete(x.keys, e.key)
	e.key, e.recs = "", nil
	if x.gone++; x.gone > len(x.order)/2 {
		left := make([]*memoryEntry, 0, len(x.order)-x.gone)
		for _, o := range x.order {
			if len(o.recs) > 0 {
				left = append(left, o)
			}
		}
		x.order, x.gone = left, 0
	}
}

// memoryCursor is a place in a walk. The walk goes through the parts of the
// store, which are the indexes of its shards, once around: it begins in the
// middle of one, and ends with what comes before in that.
type memoryCursor struct {
	Start uint8  // the part in which the walk began
	Leg   uint8  // how many parts it has been through; the last leg is at Start again
	From  uint64 // the number at which it began
	End   uint64 // the number of the last key that there was then: others are not waited for
	Next  uint64 // the number from which it goes on in its part
}

const memoryParts = memoryShards * indexes

func (m *memoryStore) part(c memoryCursor) (*memoryShard, int) {
	part := (int(c.Start) + int(c.Leg)) % memoryParts
	return &m.shards[part/indexes], part % indexes
}

// cursor reads a cursor; the empty one becomes one to a random place.
func (m *memoryStore) cursor(text Cursor, ofGateways bool) (c memoryCursor, err error) {
	if text != "" {
		read, err := binary.Decode([]byte(text), binary.BigEndian, &c)
		if err != nil || read != len(text) || c.Start >= memoryParts || c.Leg > memoryParts {
			return c, ErrCursor
		}
		return c, nil
	}
	c.Start = uint8(rand.IntN(memoryParts))
	if ofGateways {
		c.Start -= c.Start % indexes
	}
	c.End = m.seq.Load()
	s, i := m.part(c)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if order := s.indexes[i].order; len(order) > 0 {
		c.From = order[rand.IntN(len(order))].seq
	}
	c.Next = c.From
	return c, nil
}

func (m *memoryStore) Keys(ctx context.Context, prefix []byte, cursor Cursor, max int) ([][]byte, Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	ofGateways := bytes.HasPrefix(prefix, []byte(wire.GatewayPrefix))
	c, err := m.cursor(cursor, ofGateways)
	if err != nil {
		return nil, "", err
	}
	p := page{prefix: string(prefix), left: max, look: maxScanned}
	for c.Leg <= memoryParts {
		s, i := m.part(c)
		last := c.End
		if c.Leg == memoryParts {
			last = min(last, c.From-min(c.From, 1))
		}
		if i == gateways || !ofGateways {
			s.mu.RLock()
			c.Next = p.take(&s.indexes[i], c.Next, last)
			s.mu.RUnlock()
			if c.Next > 0 {
				text, err := binary.Append(nil, binary.BigEndian, c)
				return p.keys, Cursor(text), err
			}
		}
		c.Leg++
		c.Next = 0
	}
	return p.keys, "", nil
}

// page is a page that is being filled.
type page struct {
	prefix string
	keys   [][]byte
	bytes  []byte // of keys
	left   int    // how many keys there is room for
	look   int    // how many more may be looked at
}

// take takes what an index has by the numbers first to last, and returns the
// number at which the next page goes on in it; 0 when there is no more.
func (p *page) take(x *memoryIndex, first, last uint64) (next uint64) {
	at, _ := slices.BinarySearchFunc(x.order, first, func(e *memoryEntry, seq uint64) int {
		if e.seq < seq {
			return -1
		}
		return 1
	})
	for _, e := range x.order[at:] {
		switch {
		case e.seq > last:
			return 0
		case p.left <= 0 || p.look <= 0:
			return e.seq
		}
		p.look--
		if len(e.recs) > 0 && strings.HasPrefix(e.key, p.prefix) {
			p.bytes = append(p.bytes, e.key...)
			p.keys = append(p.keys, p.bytes[len(p.bytes)-len(e.key):len(p.bytes):len(p.bytes)])
			p.left--
		}
	}
	return 0
}

func (m *memoryStore) Expired(ctx context.Context, now time.Time, max int) (keys [][]byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		keys = s.due.expired(0, now, keys, max)
		s.mu.RUnlock()
	}
	return keys, nil
}

func (m *memoryStore) Usage(ctx context.Context) (Usage, error) {
	usage := Usage{Sources: make(map[Source]SourceUsage)}
	for i := range m.shards {
		if err := ctx.Err(); err != nil {
			return Usage{}, err
		}
		m.shards[i].use(&usage)
	}
	return usage, nil
}

// use adds what the shard holds.
func (s *memoryShard) use(usage *Usage) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.indexes {
		for key, e := range s.indexes[i].keys {
			usage.Keys++
			for _, r := range e.recs {
				u := usage.Sources[r.Source]
				usage.Sources[r.Source] = SourceUsage{u.Records + 1, u.Bytes + r.bytes(len(key))}
				if r.Owned {
					usage.Owned = SourceUsage{usage.Owned.Records + 1, usage.Owned.Bytes + r.bytes(len(key))}
				}
			}
		}
	}
}

func (m *memoryStore) ID() []byte { return m.id[:] }

func (m *memoryStore) Failing() error { return nil }

func (m *memoryStore) Close() error { return nil }

// expiryHeap has the keys of a shard, the soonest to expire first. It is written to
// by package heap.
type expiryHeap []*memoryEntry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *expiryHeap) Push(e any) {
	entry := e.(*memoryEntry)
	entry.at = len(*h)
	*h = append(*h, entry)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}

// expired appends the keys below i that have expired at now, until there are max
// keys. It looks only at those and their children.
func (h expiryHeap) expired(i int, now time.Time, keys [][]byte, max int) [][]byte {
	if i >= len(h) || len(keys) >= max || h[i].expires.After(now) {
		return keys
	}
	keys = append(keys, []byte(h[i].key))
	keys = h.expired(2*i+1, now, keys, max)
	return h.expired(2*i+2, now, keys, max)
}
