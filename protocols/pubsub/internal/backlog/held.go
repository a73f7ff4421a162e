package backlog

import (
	"slices"
	"sync"

	"github.com/macula-mesh/macula-node/internal/fair"
)

// Room is what messages of all topics have together that are held. It is safe for
// concurrent use.
type Room[M any] struct {
	bytes, most int // of all, and messages of one topic

	mu     sync.Mutex
	places *fair.Queue[*held[M]]
}

// Held are the messages of a topic that are held, in the order in which they came. The zero
// Held are none; they are for one goroutine at a time, which may be another for each topic.
// Their memory is guarded by Room.mu.
type Held[M any] struct {
	all    []*held[M]            // with those that have given way
	places *fair.Queue[*held[M]] // nil for none yet
}

type held[M any] struct {
	m       M
	of      *Held[M]
	by      fair.Payer
	among   *fair.Item[*held[M]] // those of the room
	ofTopic *fair.Item[*held[M]]
	gaveWay bool
}

// leastShare is which share of the room a message takes at least.
const leastShare = 1 << 16

// NewRoom returns room for so many bytes, and for so many messages of each topic.
func NewRoom[M any](bytes, ofTopic int) *Room[M] {
	return &Room[M]{bytes: bytes, most: ofTopic, places: fair.New[*held[M]](bytes, fair.Unlimited)}
}

// Add holds a message of so many bytes, and returns how many were dropped for it: of too
// many the oldest of who has brought most.
func (r *Room[M]) Add(to *Held[M], by fair.Payer, m M, size int) (dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to.places == nil {
		to.places = fair.New[*held[M]](r.most, fair.Unlimited)
	}
	h := &held[M]{m: m, of: to, by: by}
	h.among, h.ofTopic = r.places.Add(by, h, max(size, r.bytes/leastShare)), to.places.Add(by, h, 1)
	to.all = append(to.all, h)
	for out := r.places.GiveWay(h.among, true); out != nil; out = r.places.GiveWay(h.among, true) {
		r.drop(out.Value)
		dropped++
	}
	if out := to.places.GiveWay(h.ofTopic, true); out != nil {
		r.drop(out.Value)
		dropped++
	}
	if len(to.all) > 2*r.most {
		to.all = slices.DeleteFunc(to.all, func(h *held[M]) bool { return h.gaveWay })
	}
	return dropped
}

func (r *Room[M]) drop(h *held[M]) {
	var none M
	h.m, h.gaveWay = none, true
	r.places.Leave(h.among)
	h.of.places.Leave(h.ofTopic)
}

// ReleaseOf returns what is held for a topic of a payer, and holds it no longer.
func (r *Room[M]) ReleaseOf(from *Held[M], by fair.Payer) (all []M) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from.all = slices.DeleteFunc(from.all, func(h *held[M]) bool {
		if h.gaveWay || h.by != by {
			return h.gaveWay
		}
		all = append(all, h.m)
		r.drop(h)
		return true
	})
	return all
}

// Release returns what is held for a topic, and holds it no longer.
func (r *Room[M]) Release(from *Held[M]) (all []M) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range from.all {
		if !h.gaveWay {
			r.places.Leave(h.among)
			all = append(all, h.m)
		}
	}
	*from = Held[M]{}
	return all
}
