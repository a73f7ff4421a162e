package entries

import (
	"math"
	"slices"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Each record of a key has an entry of its own, whose place among the others of the key
// is a number: so that a provider's renewal, which stays in its place, is one entry
// written, and a new provider, which comes in front, another one.
const (
	middle = 1 << 31 // of all places, where the first record stands
	beyond = math.MaxUint32
)

// Rewrite is how the entries of a key become those of another list.
type Rewrite struct {
	List    []records.Record // with their places
	Write   []int            // which of list are written
	Removed []uint32         // places that no record has any more
}

// IsSame reports whether an update has left a list as it is.
func IsSame(old, next []records.Record) bool {
	return len(next) == len(old) && (len(next) == 0 || &next[0] == &old[0])
}

// Placed gives the records of next their places: those of old keep theirs, one that
// stands where others went takes theirs, and only where there is no room all get new
// ones. The places of old rise; next is the store's.
func Placed(old, next []records.Record) Rewrite {
	w := Rewrite{List: next}
	if len(old) == 0 && len(next) == 1 && next[0].Place == 0 { // as most are
		next[0].Place = middle
		return Rewrite{List: next, Write: []int{0}}
	}
	kept := make([]bool, len(next)) // has a place of old
	at := 0
	for i := range next {
		p := next[i].Place
		if p == 0 {
			continue
		}
		j := at
		for j < len(old) && old[j].Place < p {
			j++
		}
		if j == len(old) || old[j].Place != p {
			continue
		}
		kept[i], at = true, j+1
		if !isEqual(&old[j], &next[i]) {
			w.Write = append(w.Write, i)
		}
	}
	unused := freed(old, next, kept)
	for i := 0; i < len(next); i++ {
		if kept[i] {
			continue
		}
		end := i
		for end < len(next) && !kept[end] {
			end++
		}
		var low, high uint32 = 0, beyond
		if i > 0 {
			low = w.List[i-1].Place
		}
		if end < len(next) {
			high = w.List[end].Place
		}
		places := between(low, high, end-i, unused)
		if places == nil {
			return renumbered(old, next)
		}
		for k, p := range places {
			w.place(i+k, p)
			w.Write = append(w.Write, i+k)
		}
		i = end
	}
	taken := 0
	for i := range old {
		p := old[i].Place
		for taken < len(w.List) && w.List[taken].Place < p {
			taken++
		}
		if taken == len(w.List) || w.List[taken].Place != p {
			w.Removed = append(w.Removed, p)
		}
	}
	return w
}

// place gives a record its place. One that has another place may be part of a list
// that somebody reads.
func (w *Rewrite) place(i int, p uint32) {
	if w.List[i].Place != 0 && w.List[i].Place != p {
		w.List = slices.Clone(w.List)
	}
	w.List[i].Place = p
}

// freed returns the places of old that no kept record of next has, rising.
func freed(old, next []records.Record, kept []bool) (free []uint32) {
	i := 0
	for j := range old {
		for i < len(next) && (!kept[i] || next[i].Place < old[j].Place) {
			i++
		}
		if i == len(next) || next[i].Place != old[j].Place {
			free = append(free, old[j].Place)
		}
	}
	return free
}

// between returns n places that rise between low and high, or nil where there is no
// room. It takes those of free first: that is one entry to write instead of two.
func between(low, high uint32, n int, free []uint32) []uint32 {
	first, _ := slices.BinarySearch(free, low+1)
	last, _ := slices.BinarySearch(free, high)
	if last-first >= n {
		return free[first : first+n]
	}
	places := make([]uint32, n)
	var start, step uint32
	switch room := high - low; {
	case uint64(n) >= uint64(room):
		return nil
	case low == 0 && high == beyond:
		start, step = middle-uint32(n)/2, 1
	case low == 0:
		start, step = high-uint32(n), 1
	case high == beyond:
		start, step = low+1, 1
	default:
		step = room / uint32(n+1)
		start = low + step
	}
	for i := range places {
		places[i] = start + uint32(i)*step
	}
	return places
}

// renumbered gives all records new places.
func renumbered(old, next []records.Record) Rewrite {
	w := Rewrite{List: slices.Clone(next)}
	for i := range w.List {
		w.List[i].Place = middle - uint32(len(next))/2 + uint32(i)
		w.Write = append(w.Write, i)
	}
	for i := range old {
		if !slices.ContainsFunc(w.List, func(r records.Record) bool { return r.Place == old[i].Place }) {
			w.Removed = append(w.Removed, old[i].Place)
		}
	}
	return w
}

// isEqual reports whether two records are written alike.
func isEqual(a, b *records.Record) bool {
	return a.Expires.Equal(b.Expires) && a.Owned == b.Owned && a.Direct == b.Direct && a.Source == b.Source && isSameProof(a.Proof, b.Proof) &&
		(a.NodeID == nil) == (b.NodeID == nil) && string(a.NodeID) == string(b.NodeID) && string(a.Value) == string(b.Value)
}

func isSameProof(a, b *records.Proof) bool {
	return a == b || a != nil && b != nil && string(a.Envelope) == string(b.Envelope)
}
