package records

import (
	"bytes"
	"cmp"
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
	// stored a record itself, or one is stored that it has proved, and somebody
	// else, or something without a proof, was to replace it.
	ErrNotOwner = errors.New("record belongs to another peer")
	// ErrFar means that room is scarce, and that the record has no owner and a key that
	// is far from this node: others keep it. It is an ErrStoreFull.
	ErrFar = fmt.Errorf("%w for a key that is far from this node", ErrStoreFull)
	// ErrSuperseded means that a proved record is older than the one that is stored of
	// its provider, be that a tombstone.
	ErrSuperseded = errors.New("a newer record of the provider is stored")
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
	Value  []byte        // a raw MessagePack map; empty for a tombstone, which has a proof
	NodeID []byte        // value.node_id, or of a tombstone the signer's; nil when the value has none
	TTL    time.Duration // capped by the caller; 0 means DefaultTTL

	// ExpiresIn marks a copy of a record held elsewhere and is the life left
	// to it there; 0 for the original. A copy with no life left is no Put.
	ExpiresIn time.Duration

	// Direct says that the put comes first-hand from a client of this node, which can
	// not prove who it is. While the record lives no copy replaces it, and nothing from
	// elsewhere is fresher (package merge). It says nothing of a copy.
	Direct bool

	// Synced has the put done only when it survives the end of the process and of the
	// machine's power; else that is so within 100 ms. A store in memory knows no
	// difference.
	Synced bool

	// Proof proves that the value is NodeID's; the caller has found it to hold. Nil where
	// nothing does.
	Proof *Proof

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

// life returns how long what the put stores lives from now on. A tombstone does for as
// long as what it withdraws could be let in, whatever its sender says.
func (p *Put) life(now time.Time) time.Duration {
	life := cmp.Or(p.TTL, DefaultTTL)
	if p.isCopy() {
		life = min(life, p.ExpiresIn)
	}
	switch {
	case p.Proof == nil:
		return life
	case len(p.Value) == 0:
		return p.Proof.Left(now)
	default:
		return min(life, p.Proof.Left(now))
	}
}

// record returns what the put stores at now, or ErrExpired.
func (p *Put) record(now time.Time) (Record, error) {
	life := p.life(now)
	if life <= 0 {
		return Record{}, ErrExpired
	}
	return Record{
		Value:   p.Value,
		NodeID:  p.NodeID,
		Expires: now.Add(life),
		Owned:   p.Proof != nil || len(p.From) > 0 && bytes.Equal(p.NodeID, p.From),
		Direct:  p.Direct && !p.isCopy(),
		Proof:   p.Proof,
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

// place works out what storing rec at now does to the live records of its key:
//
//   - The same node id replaces in place; so does, where there is none, the
//     same value. Anything else goes in front, and tombstones to the end.
//   - An owned record is replaced by its owner alone, a proved one by a proved one alone.
//     Others get ErrNotOwner, unless they bring the very same value, which changes nothing.
//   - Of two proved records the one that was sealed later stays; see placeProved.
//   - A copy with no more life left than the record it would replace is the
//     staler one, and changes nothing. Nor does any copy of a direct record: one
//     of what was before may have more life left. Nor does the very same value of a direct
//     record that comes from elsewhere: it would make a stranger's of what is the client's.
//   - Over what a source or its group may have one of theirs goes. Over MaxProviders it
//     is one of who has most; but no owned one goes for one that is not, and over three
//     quarters of them one that is owned goes for an owned one. Of those that
//     may it is one without owner before others, the soonest to expire, the oldest of
//     equals. Where that is rec itself it gets ErrKeyFull.
func place(live []Record, rec *Record, isCopy bool, now time.Time, limits Limits) (edit, error) {
	i := slices.IndexFunc(live, rec.IsOfSameProvider)
	if i < 0 {
		return insert(live, rec, limits)
	}
	old := &live[i]
	switch {
	case rec.Proof != nil:
		return placeProved(live, i, rec, now, limits)
	case (old.Owned && !rec.Owned || old.Proof != nil) && bytes.Equal(old.Value, rec.Value):
		return edit{next: live}, nil
	case old.Owned && !rec.Owned, old.Proof != nil:
		return edit{}, ErrNotOwner
	case isCopy && (old.Direct || !rec.Expires.After(old.Expires)), old.Direct && !rec.Direct && !rec.Owned && bytes.Equal(old.Value, rec.Value):
		return edit{next: live}, nil // one that is as good as new does not say that it is a copy
	}
	return replaceWithin(live, i, rec, limits)
}

// placeProved is place for a proved record where the provider's stands at i. An older one
// never replaces a newer one, and the very same one only prolongs its life: who hands it
// over may have said that less is left.
func placeProved(live []Record, i int, rec *Record, now time.Time, limits Limits) (edit, error) {
	old := &live[i]
	order := rec.Proof.Compare(old.Proof)
	if old.Proof != nil && old.Proof.isAhead(now) {
		order = 1
	}
	switch {
	case order > 0:
		return replaceWithin(live, i, rec, limits)
	case order < 0 || !bytes.Equal(old.Value, rec.Value):
		return edit{}, ErrSuperseded
	case !rec.Expires.After(old.Expires):
		return edit{next: live}, nil
	}
	return replaceWithin(live, i, rec, limits)
}

// replaceWithin is replace that keeps the list within its limits: who becomes the owner of
// a record, or has it from another source, has a place as for a new one.
func replaceWithin(live []Record, i int, rec *Record, limits Limits) (edit, error) {
	if live[i].Owned == rec.Owned && payerOf(live[i].Source) == payerOf(rec.Source) {
		return replace(live, i, rec), nil
	}
	e, err := insert(without(live, i), rec, limits)
	if err == nil && e.removed == nil {
		return replace(live, i, rec), nil
	}
	if err == nil {
		e.removed = slices.Concat(live[i:i+1], e.removed)
	}
	return e, err
}

// replace puts rec in the place of the record at i, or, where one of them is a tombstone
// and the other is not, where it belongs.
func replace(live []Record, i int, rec *Record) edit {
	done := edit{removed: live[i : i+1], added: rec, replaced: true}
	if live[i].IsTombstone() == rec.IsTombstone() {
		done.next = slices.Clone(live)
		done.next[i] = *rec
		return done
	}
	done.next = appendPlaced(make([]Record, 0, len(live)), live[:i], live[i+1:], rec)
	return done
}

// appendPlaced appends the records of two lists, and rec: in front, or, a tombstone, at
// the end.
func appendPlaced(to, a, b []Record, rec *Record) []Record {
	if rec.IsTombstone() {
		return append(append(append(to, a...), b...), *rec)
	}
	return append(append(append(to, *rec), a...), b...)
}

// insert puts rec where a new one belongs, and keeps the list within its limits.
func insert(live []Record, rec *Record, limits Limits) (edit, error) {
	goes := limits.crowd(live, rec)
	if goes == len(live) {
		return edit{}, ErrKeyFull
	}
	e := edit{next: make([]Record, 0, len(live)+1), added: rec}
	if goes < 0 {
		e.next = appendPlaced(e.next, live, nil, rec)
	} else {
		e.next = appendPlaced(e.next, live[:goes], live[goes+1:], rec)
		e.removed, e.evicted = live[goes:goes+1], EvictedKey
	}
	return e, nil
}
