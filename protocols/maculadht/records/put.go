package records

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/internal/budget"
)

const (
	// MaxProviders is how many records a key holds; see [Limits] for how many of them
	// may be of one source.
	MaxProviders = 1000
	// DefaultTTL is how long a value lives that does not say: 86,400 s.
	DefaultTTL = 24 * time.Hour
)

// Why a record was not stored.
var (
	// ErrStoreFull means that the budget of all records together is used up, and that
	// nobody who stores as much as the record's source gives way to it.
	ErrStoreFull = budget.ErrStoreFull
	// ErrSourceBudget means that its source has used up its own budget.
	ErrSourceBudget = budget.ErrSourceBudget
	// ErrGroupBudget means that the IP group of its source has used up its own.
	ErrGroupBudget = budget.ErrGroupBudget
	// ErrNotOwner means that the peer whose node id the value carries has
	// stored a record itself, and somebody else tried to replace it.
	ErrNotOwner = errors.New("record belongs to another peer")
	// ErrFar means that room is scarce, and that the record has no owner and a key that
	// is far from this node: others keep it. It is an ErrStoreFull.
	ErrFar = fmt.Errorf("%w for a key that is far from this node", ErrStoreFull)
	// ErrKeyFull means that the key has as many records as it, its source or the group of
	// that may have, of which none gives way to this one.
	ErrKeyFull = errors.New("the key has as many providers as it may")
	// ErrExpired means that the value has no life left.
	ErrExpired = errors.New("value has expired")
)

// Put is a value to be stored. The manager takes its slices over; they must not
// be parts of a larger buffer, which would stay in memory with them.
type Put struct {
	Key    []byte
	Value  []byte        // a raw MessagePack map
	NodeID []byte        // value.node_id; nil when the value has none
	TTL    time.Duration // capped by the caller; 0 means DefaultTTL

	// ExpiresIn marks a copy of a record held elsewhere and is the life left
	// to it there; 0 for the original. A copy with no life left is no Put.
	ExpiresIn time.Duration

	// Direct says that the put comes first-hand from a client of this node, which can
	// not prove who it is. While the record lives no copy replaces it, and nothing from
	// elsewhere is fresher ([AppendMerged]). It says nothing of a copy.
	Direct bool

	// Synced has the put done only when it survives the end of the process and of the
	// machine's power; else that is so within 100 ms. A store in memory knows no
	// difference.
	Synced bool

	// From is the node id of the libp2p peer that sent it, 32 bytes; nil when
	// nobody has proved to be the sender.
	From []byte
	// Source is whose storage budget pays; zero for our own values, which have
	// no limit.
	Source Source
}

func (p *Put) durability() Durability {
	if p.Synced {
		return Synced
	}
	return Soon
}

// isCopy reports whether the put hands over a record that lives elsewhere.
func (p *Put) isCopy() bool {
	return p.ExpiresIn != 0
}

// record returns what the put stores at now, or ErrExpired.
func (p *Put) record(now time.Time) (Record, error) {
	life := p.TTL
	if life == 0 {
		life = DefaultTTL
	}
	if p.isCopy() {
		life = min(life, p.ExpiresIn)
	}
	if life <= 0 {
		return Record{}, ErrExpired
	}
	return Record{
		Value:   p.Value,
		NodeID:  p.NodeID,
		Expires: now.Add(life),
		Owned:   len(p.From) > 0 && bytes.Equal(p.NodeID, p.From),
		Direct:  p.Direct && !p.isCopy(),
		Source:  p.Source,
	}, nil
}

// edit is what happens to the live records of a key.
type edit struct {
	next     []Record // the new list
	added    *Record  // what is new in it, or nil
	removed  []Record // what went for it
	replaced bool     // added stands where removed stood
	evicted  Eviction // why removed went, if it gave way; else empty
}

// place works out what storing rec does to the live records of its key:
//
//   - The same node id replaces in place; so does, where there is none, the
//     same value. Anything else goes in front.
//   - An owned record is replaced by its owner alone. Others get ErrNotOwner,
//     unless they bring the very same value, which changes nothing.
//   - A copy with no more life left than the record it would replace is the
//     staler one, and changes nothing. Nor does any copy of a direct record: one
//     of what was before may have more life left.
//   - Over what a source or its group may have one of theirs goes. Over MaxProviders it
//     is one of who has most; but no owned one goes for one that is not. Of those that
//     may it is one without owner before others, the soonest to expire, the oldest of
//     equals. Where that is rec itself it gets ErrKeyFull.
func place(live []Record, rec *Record, isCopy bool, limits Limits) (edit, error) {
	i := slices.IndexFunc(live, rec.replaces)
	if i < 0 {
		return insert(live, rec, limits)
	}
	old := &live[i]
	switch {
	case old.Owned && !rec.Owned && bytes.Equal(old.Value, rec.Value):
		return edit{next: live}, nil
	case old.Owned && !rec.Owned:
		return edit{}, ErrNotOwner
	case isCopy && (old.Direct || !rec.Expires.After(old.Expires)):
		return edit{next: live}, nil
	}
	next := slices.Clone(live)
	next[i] = *rec
	return edit{next: next, removed: live[i : i+1], added: rec, replaced: true}, nil
}

// insert puts rec in front, and keeps the list within its limits.
func insert(live []Record, rec *Record, limits Limits) (edit, error) {
	goes := limits.crowd(live, rec)
	if goes == len(live) {
		return edit{}, ErrKeyFull
	}
	e := edit{next: make([]Record, 0, len(live)+1), added: rec}
	e.next = append(append(e.next, *rec), live...)
	if goes >= 0 {
		e.next = slices.Delete(e.next, goes+1, goes+2)
		e.removed, e.evicted = live[goes:goes+1], EvictedKey
	}
	return e, nil
}
