package lookup

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

const (
	// maxAsked is how many contacts one lookup asks at most, whatever it is
	// told. An honest network needs a fifth of it.
	maxAsked = 16 * routing.BucketSize
	// maxUnasked is how many contacts a lookup keeps in mind to ask. Of more,
	// the farthest go.
	maxUnasked = 16 * routing.BucketSize
)

// candidateState is how far a lookup is with a contact.
type candidateState uint8

const (
	unasked  candidateState = iota
	asked                   // it holds a slot
	slow                    // asked long ago: its slot is given to another, its answer still counts
	answered                // it is alive and told what it knows
	dropped                 // it failed, or answered what can not be
)

// peerCandidate is a contact in a lookup.
type peerCandidate struct {
	routing.Contact
	distance routing.ID
	group    netip.Prefix // IP group, as claimed until it has answered; zero for none
	state    candidateState
	round    int // 1 for a contact of our own, one more than who named it for others
	since    time.Time
	helpful  bool // it had a value, or named a contact nearer than itself
	retry    bool // it was not reached, and may be asked once more where others say it is
	retried  bool
	holds    bool // it had a value, and so named nobody
	again    bool // it holds, and is asked for nodes as well
	hop      int  // the place of its last answer among the hops, from 1 on
}

// open reports whether the contact is to answer before a lookup is over.
func (p *peerCandidate) open() bool {
	return p.state == asked || p.state == unasked && !p.Doubtful()
}

// counts reports whether the contact takes a place of its IP group's share. Who does not
// answer takes none: his address is a claim.
func (p *peerCandidate) counts() bool { return p.open() || p.state == answered }

// learnAddrs adds addresses and reports whether any was new: the first who names
// a peer may have named it wrongly.
func (p *peerCandidate) learnAddrs(addrs []ma.Multiaddr) (learnt bool) {
	for _, a := range addrs {
		if len(p.Addrs) < wire.MaxAddrs && !slices.ContainsFunc(p.Addrs, a.Equal) {
			p.Addrs = append(slices.Clip(p.Addrs), a) // what was is shared
			learnt = true
		}
	}
	return learnt
}

// frontier is what a lookup knows of, nearest to the target first. Replies may
// make it hold maxUnasked contacts beside those that were asked, maxAsked at
// most. Of one IP group only as many as its share count among the nearest, while there
// are others: see order.
type frontier struct {
	target  routing.ID
	self    routing.ID
	k       int
	share   int                                // of one IP group among the k nearest
	groupOf func(routing.Contact) netip.Prefix // as it is claimed
	list    []*peerCandidate
	known   map[routing.ID]*peerCandidate
	unasked int // of list
	asked   int // contacts so far

	// passOver, where it is set, reports who is no candidate.
	passOver func(routing.ID) bool
	// draw, where it is set, says which of n is asked next, 0 to n-1: any of the k nearest.
	// Who takes the places that are the nearest to a key is not all that are asked then.
	draw func(n int) int

	shares   diversity.Shares // of order, which keeps their memory
	crowded  []*peerCandidate // as well
	eligible []*peerCandidate // of next, likewise
}

func newFrontier(target routing.ID, server *routing.Server, k int) *frontier {
	return &frontier{target: target, self: server.Self(), k: k, share: server.PerList(), groupOf: server.Group, known: make(map[routing.ID]*peerCandidate)}
}

// order yields the contacts as they count among the nearest: nearest first, but those
// of which nearer ones take their IP group's whole share behind all others. Only one
// goes through it at a time.
func (f *frontier) order() iter.Seq[*peerCandidate] {
	return func(yield func(*peerCandidate) bool) {
		f.shares.Reset()
		f.crowded = f.crowded[:0]
		for _, p := range f.list {
			if p.counts() && !f.shares.Take(p.group, f.share) {
				f.crowded = append(f.crowded, p)
			} else if !yield(p) {
				return
			}
		}
		for _, p := range f.crowded {
			if !yield(p) {
				return
			}
		}
	}
}

// open reports whether anything can be learnt of the contact with this id: it
// is new, or not asked yet, or was not reached.
func (f *frontier) open(id routing.ID) bool {
	p := f.known[id]
	return id != f.self && (f.passOver == nil || !f.passOver(id)) && (p == nil || p.state == unasked || p.retry)
}

// add takes a contact in. Of one that is known only the addresses may be new.
func (f *frontier) add(c routing.Contact, round int) {
	if !f.open(c.ID) || f.asked == maxAsked {
		return
	}
	if p := f.known[c.ID]; p != nil {
		if p.learnAddrs(c.Addrs) && p.retry {
			p.retry = false
			p.state = unasked
			f.unasked++
		}
		return
	}
	p := &peerCandidate{Contact: c, distance: f.target.Distance(c.ID), group: f.groupOf(c), round: round}
	at, _ := slices.BinarySearchFunc(f.list, p, func(a, b *peerCandidate) int {
		return bytes.Compare(a.distance[:], b.distance[:])
	})
	f.list = slices.Insert(f.list, at, p)
	f.known[c.ID] = p
	if f.unasked++; f.unasked > maxUnasked {
		f.shed(1)
	}
}

// shed forgets the n farthest contacts that were not asked.
func (f *frontier) shed(n int) {
	for i := len(f.list) - 1; n > 0; i-- {
		if p := f.list[i]; p.state == unasked {
			f.list = slices.Delete(f.list, i, i+1)
			delete(f.known, p.ID)
			f.unasked--
			n--
		}
	}
}

// next returns the contact to ask now, which counts as asked, or nil: of the k nearest, in
// order, that answered or may do so soon one that is not asked yet, the nearest or the one
// that is drawn. Those that are doubtful it passes over.
func (f *frontier) next() *peerCandidate {
	return f.nextOf(false)
}

// nextDoubtful is next of the doubtful ones alone.
func (f *frontier) nextDoubtful() *peerCandidate {
	return f.nextOf(true)
}

func (f *frontier) nextOf(doubtful bool) *peerCandidate {
	live := 0
	f.eligible = f.eligible[:0]
	for p := range f.order() {
		if p.state == unasked && p.Doubtful() == doubtful {
			f.eligible = append(f.eligible, p)
			if f.draw == nil {
				break
			}
		} else if p.state != asked && p.state != answered {
			continue
		}
		if live++; live == f.k {
			break
		}
	}
	if len(f.eligible) == 0 {
		return nil
	}
	p := f.eligible[0]
	if f.draw != nil {
		p = f.eligible[f.draw(len(f.eligible))]
	}
	p.state = asked
	f.unasked--
	if f.asked++; f.asked == maxAsked {
		f.shed(f.unasked)
	}
	return p
}

// holder returns the nearest that had a value and was not asked for nodes yet,
// where fewer than k have answered: its neighbours may have the value too. It
// counts as asked; nil where there is none.
func (f *frontier) holder() *peerCandidate {
	var nearest *peerCandidate
	live := 0
	for _, p := range f.list {
		if p.state != answered {
			continue
		}
		live++
		if nearest == nil && p.holds && !p.again {
			nearest = p
		}
	}
	if nearest == nil || live >= f.k {
		return nil
	}
	nearest.again, nearest.state = true, asked
	return nearest
}

// reached reports whether the n nearest that may be alive, and are neither slow nor
// doubtful, have answered.
func (f *frontier) reached(n int) bool {
	for p := range f.order() {
		switch {
		case p.open():
			return false
		case p.state == answered:
			if n--; n == 0 {
				return true
			}
		}
	}
	return false
}

// settled reports whether all of the k nearest that may be alive have answered, but
// for the slow and the doubtful.
func (f *frontier) settled() bool {
	live := 0
	for p := range f.order() {
		switch {
		case p.open():
			return false
		case p.state == answered:
			if live++; live == f.k {
				return true
			}
		}
	}
	return true
}

// missing reports whether fewer than k have answered, and there are slow ones that
// may do so; of the doubtful ones only where that is wanted.
func (f *frontier) missing(doubtful bool) bool {
	live, slowOnes := 0, 0
	for _, p := range f.list {
		switch {
		case p.state == slow && (doubtful || !p.Doubtful()):
			slowOnes++
		case p.state == answered:
			live++
		}
	}
	return live < f.k && slowOnes > 0
}

// lastAsked returns when the last of the slow ones was asked that are not doubtful.
func (f *frontier) lastAsked() (last time.Time) {
	for _, p := range f.list {
		if p.state == slow && !p.Doubtful() && p.since.After(last) {
			last = p.since
		}
	}
	return last
}

// nearest returns the k nearest, nearest first, be it that most are only said to be there.
func (f *frontier) nearest() []routing.Contact {
	all := make([]routing.Contact, 0, f.k)
	for p := range f.order() {
		if p.counts() && len(all) < f.k {
			all = append(all, p.Contact)
		}
	}
	slices.SortFunc(all, func(a, b routing.Contact) int { return f.target.CompareDistance(a.ID, b.ID) })
	return all
}

// closest returns the k nearest that answered, nearest first, those beyond their IP
// group's share only where there are not k others.
func (f *frontier) closest() []routing.Contact {
	live := make([]routing.Contact, 0, f.k)
	for p := range f.order() {
		if p.state == answered && len(live) < f.k {
			live = append(live, p.Contact)
		}
	}
	slices.SortFunc(live, func(a, b routing.Contact) int { return f.target.CompareDistance(a.ID, b.ID) })
	return live
}
