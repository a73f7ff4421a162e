package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/found"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/negative"
)

// search is one lookup under way. The caller's goroutine does all of its
// thinking; each query has one that waits.
type search struct {
	*Lookups

	id       routing.ID   // what is searched for
	question wire.Message // shared by all queries, so read only
	nodes    wire.Message // for those that have answered with a value
	values   bool         // it asks for values
	alpha    int          // how many are asked at a time
	how      Search
	frontier *frontier
	merged   found.Merger
	found    Found
	vouched  int              // holders that count for the quorum
	unproved diversity.Shares // of them, those that proved nothing
	dense    bool             // the nearest that it knows of lie too densely to be true
	widened  bool             // it asks in the wider region

	slots   []*peerCandidate // who holds a slot, asked longest ago first
	pending int              // queries whose answer was not taken
	answers chan answer
	queries sync.WaitGroup

	heard  bool             // somebody answered, be it rubbish
	good   int              // answers that were as they should be
	spared int              // Erlang contacts that were not asked, as they missed a short while ago
	faults []*peerCandidate // who did not answer as they should
	last   error            // why the last of them was of no use

	longest   time.Duration // that a good answer took
	desperate bool          // the doubtful were asked
}

// answer is what came back from one contact.
type answer struct {
	from  *peerCandidate
	reply wire.Message
	took  time.Duration
	err   error
	ended bool // the lookup had ended by then, so err says nothing of the contact
}

func (l *Lookups) run(ctx context.Context, how Search, values bool) (*Found, error) {
	target := how.Key
	if len(target) > wire.MaxField {
		return &Found{}, fmt.Errorf("look up %d bytes: limit %d", len(target), wire.MaxField)
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.lookup)
	s := &search{
		Lookups:  l,
		id:       routing.IDFromBytes(target),
		question: &wire.FindNode{Target: target},
		nodes:    &wire.FindNode{Target: target},
		values:   values,
		alpha:    cmp.Or(how.Alpha, l.cfg.alpha),
		merged:   found.Merger{Limit: how.MaxBytes},
		how:      how,
		answers:  make(chan answer),
	}
	if values {
		s.question = &wire.FindValue{Key: target}
	}
	l.visited.note(l.server.Self().CommonPrefixLen(s.id), time.Now())
	s.frontier = newFrontier(s.id, l.server, routing.BucketSize)
	s.frontier.passOver = how.passOver
	if values {
		s.frontier.draw = l.cfg.draw
	}
	defer s.judge()
	defer s.drain()
	defer cancel()

	s.begin(ctx, target)
	err := s.askAll(ctx)
	if err == nil && !s.enough() {
		err = s.widen(ctx)
	}
	if err == nil && values && s.found.Holders == 0 && !how.PeersOnly && !how.ProvedOnly {
		if how.OnMissed != nil && s.good > 0 {
			how.OnMissed(s.frontier.closest())
		}
		err = s.askErlang(ctx)
	}
	s.found.Silent = s.pending
	s.found.Closest = s.frontier.closest()
	s.found.Values = s.merged.Values(time.Now())
	if err == nil {
		err = s.verdict()
	}
	return &s.found, err
}

// verdict returns what a lookup has come to that nothing ended before its time.
func (s *search) verdict() error {
	switch {
	case len(s.found.Values) > 0:
		return nil
	case s.good == 0 && s.last != nil:
		return fmt.Errorf("%w: %d were asked, the last of them: %w", ErrUnanswered, len(s.found.Hops), s.last)
	case s.good == 0 && s.spared == 0 && (s.values || s.server.Table().Len() == 0):
		return ErrNoPeers
	case s.values:
		return records.ErrNotFound
	}
	return nil
}

// begin takes what is known here: contacts to ask, and values.
func (s *search) begin(ctx context.Context, key []byte) {
	for _, c := range s.server.Table().NearestPeers(s.id, maxUnasked/2) {
		s.frontier.add(c, 1)
	}
	if !s.values {
		return
	}
	// A store that can not be read is no reason not to ask others.
	here, withdrawn, _ := s.server.Records().Records(ctx, key, time.Now())
	own := make([]FoundValue, 0, len(here)+len(withdrawn))
	for i := range here {
		if v, err := values.Parse(here[i].Value); err == nil && (here[i].Proof != nil || !s.how.ProvedOnly) {
			own = append(own, FoundValue{Value: v, Expires: here[i].Expires, Proof: here[i].Proof})
		}
	}
	held := len(own)
	proved := slices.ContainsFunc(own, isProved)
	for _, r := range withdrawn {
		own = append(own, FoundValue{Value: values.Value{NodeID: r.NodeID}, Expires: r.Expires, Proof: r.Proof})
	}
	if s.hold(own, held); held > 0 {
		s.vouch(netip.Prefix{}, proved)
	}
}

func isProved(v FoundValue) bool { return v.Proof != nil }

// vouch counts a holder for the quorum. Of those that proved nothing one of each IP group
// counts: several at one place are no more than its word.
func (s *search) vouch(group netip.Prefix, proved bool) {
	if proved || s.unproved.Take(group, 1) {
		s.vouched++
	}
}

// hold takes in what somebody has, a holder if there are values among it and not only
// what was withdrawn.
func (s *search) hold(found []FoundValue, values int) {
	if values > 0 {
		s.found.Holders++
	}
	s.merged.Add(found...)
	if s.how.OnValues != nil && len(found) > 0 {
		s.how.OnValues(found)
	}
}

// enough reports whether so many had a value that others need not be asked. What those say
// who lie too densely to be true is never enough: all of them may have made up something.
func (s *search) enough() bool {
	if !s.values || s.cfg.quorum == 0 || s.vouched < s.cfg.quorum {
		return false
	}
	if !s.dense && s.how.wide {
		s.dense = s.density.Crowded(s.id, s.frontier.nearest(), time.Now())
	}
	return !s.dense || s.widened
}

// width is how many slots there are. Once the alpha nearest have answered there
// is hardly anybody nearer left to hear of, so the rest of the k nearest, which
// have to answer all the same, are asked at once, as Kademlia ends its lookups.
// A value may spare them the question, so those who look for one go on as before.
func (s *search) width() int {
	if !s.values && s.frontier.reached(s.alpha) {
		return max(s.alpha, s.frontier.k)
	}
	return s.alpha
}

// askAll asks libp2p contacts, as many at a time as there are slots, until there
// is nothing left to learn from them. Those that are doubtful are asked, and those
// that are slow are waited for, only where the others have come to nothing.
func (s *search) askAll(ctx context.Context) error {
	timer := time.NewTimer(s.cfg.slow)
	defer timer.Stop()
	for !s.enough() {
		if err := ctx.Err(); err != nil {
			return err
		}
		for len(s.slots) < s.width() && s.send(ctx, s.frontier.next()) {
		}
		if s.frontier.settled() && !s.goOn(ctx) {
			return nil
		}
		look := s.cfg.query // again, at the latest
		switch {
		case len(s.slots) > 0:
			look = min(time.Until(s.slots[0].since.Add(s.slotOf(s.slots[0]))), lookAgain)
		case s.good > 0:
			look = time.Until(s.frontier.lastAsked().Add(s.patience()))
		}
		timer.Reset(look)
		select {
		case a := <-s.answers:
			s.take(a)
		case <-timer.C:
			s.slots = slices.DeleteFunc(s.slots, s.overdue)
		case <-ctx.Done():
		}
	}
	return nil
}

// lookAgain is how often it is looked whether somebody has left who was asked.
const lookAgain = 50 * time.Millisecond

// overdue reports whether a contact's slot is to be given to another, which it then
// counts as: it takes its time, or has become doubtful since it was asked.
func (s *search) overdue(p *peerCandidate) bool {
	if !p.Doubtful() {
		if c, ours := s.server.Contact(p.ID); ours && c.Doubtful() {
			p.Contact, p.state = c, slow
			return true
		}
	}
	if time.Since(p.since) < s.slotOf(p) {
		return false
	}
	p.state = slow
	return true
}

// goOn decides what is still worth waiting for when all have answered that were
// expected to, asks whom it takes, and reports whether there is anything. The
// doubtful are asked all at once, as most will not answer, and are waited for as long as
// slotOf says; unless they are all that there is.
func (s *search) goOn(ctx context.Context) bool {
	if s.values && s.send(ctx, s.frontier.holder()) {
		return true
	}
	if s.fruitful() {
		return s.frontier.missing(false) && time.Since(s.frontier.lastAsked()) < s.patience()
	}
	alone := s.good == 0
	if alone || !s.desperate {
		s.desperate = true
		for s.send(ctx, s.frontier.nextDoubtful()) {
		}
	}
	return len(s.slots) > 0 || s.frontier.missing(alone) && (alone || time.Since(s.frontier.lastAsked()) < s.patience())
}

// leastSlot is how long a contact keeps its slot in any case.
const leastSlot = 250 * time.Millisecond

// slot is how long a contact keeps its slot. Where others have answered, four times
// as long as the slowest of them took is enough, so that many dead ones do not add up.
func (s *search) slot() time.Duration {
	if s.good == 0 {
		return s.cfg.slow
	}
	return min(s.cfg.slow, max(leastSlot, 4*s.longest))
}

// slotOf is how long this contact keeps its slot. The doubtful, which are asked last and
// all at once, have no longer than the slowest of the others took.
func (s *search) slotOf(p *peerCandidate) time.Duration {
	if s.good > 0 && p.Doubtful() {
		return min(s.slot(), max(leastSlot, s.longest))
	}
	return s.slot()
}

// patience is how long a contact may take where others have answered, be it that they
// have nothing, since what they lack may have been stored meanwhile: as
// long as a slot lasts at most, and where all answers take long, twice as long as they
// did. Where a value was found it is only one more copy that is waited for.
func (s *search) patience() time.Duration {
	least := s.cfg.slow
	if s.found.Holders > 0 && s.cfg.quorum > 0 {
		least = s.slot()
	}
	return max(least, 2*s.longest)
}

// fruitful reports whether the lookup has come to something.
func (s *search) fruitful() bool {
	if s.values {
		return s.found.Holders > 0
	}
	return s.good > 0
}

// send gives a contact a slot and asks it; it reports false where there is none.
func (s *search) send(ctx context.Context, p *peerCandidate) bool {
	if p == nil {
		return false
	}
	s.slots = append(s.slots, p)
	s.ask(ctx, p)
	return true
}

// ask sends the question to a contact. Its answer comes, always.
func (s *search) ask(ctx context.Context, p *peerCandidate) {
	p.since = time.Now()
	s.pending++
	to, since, question := p.Contact, p.since, s.question
	if p.again {
		question = s.nodes
	}
	if s.how.OnAsked != nil {
		s.how.OnAsked(Asked{Contact: to, Round: p.round, Again: p.again})
	}
	s.queries.Go(func() {
		reply, err := s.Query(ctx, to, question)
		if to.IsErlang() && errors.Is(err, proto.ErrUnanswered) {
			s.negative.Add(negative.Miss{Contact: to.ID, Key: s.id}, time.Now()) // what it has it says at once
		}
		s.answers <- answer{from: p, reply: reply, took: time.Since(since), err: err, ended: ctx.Err() != nil}
	})
}

// drain waits for what is under way, whose context has ended.
func (s *search) drain() {
	for ; s.pending > 0; s.pending-- {
		<-s.answers
	}
	s.queries.Wait()
}

// take learns from an answer.
func (s *search) take(a answer) {
	s.pending--
	p := a.from
	s.slots = slices.DeleteFunc(s.slots, func(o *peerCandidate) bool { return o == p })
	if a.err != nil && a.ended {
		p.state = dropped
		return
	}
	if seen, known := s.server.GroupSeen(p.Contact); known {
		p.group = seen // whatever was claimed
	}
	hop := Hop{Contact: p.Contact, Round: p.round, Took: a.took, Err: a.err}
	if a.err == nil {
		hop.Nodes, hop.Values, hop.Err = s.learn(p, a.reply)
	}
	s.heard = s.heard || a.err == nil || errors.Is(a.err, proto.ErrRemote)
	switch {
	case hop.Err != nil:
		p.state, s.last = dropped, hop.Err
		p.retry = errors.Is(hop.Err, proto.ErrUnreachable) && !p.retried
		p.retried = true
		if !p.IsErlang() && AtFault(hop.Err) {
			s.faults = append(s.faults, p)
		}
	default:
		p.state = answered
		s.good++
		s.longest = max(s.longest, a.took)
		if p.helpful || p.IsErlang() {
			s.server.Table().Alive(p.ID, time.Now())
		}
	}
	s.note(p, hop)
}

// note enters an answer among the hops: that of a holder about nodes in the hop that has
// its values.
func (s *search) note(p *peerCandidate, hop Hop) {
	if !p.again {
		s.found.Hops = append(s.found.Hops, hop)
		p.hop = len(s.found.Hops)
	} else {
		before := &s.found.Hops[p.hop-1]
		hop.Again = true
		hop.Took += before.Took
		hop.Values += before.Values
		*before = hop
	}
	if s.cfg.observe != nil {
		s.cfg.observe(hop)
	}
	if s.how.OnHop != nil {
		s.how.OnHop(hop)
	}
}

// AtFault reports whether an error speaks against the contact: it was not
// reached in time, would not talk, or answered wrongly. That it is busy does
// not, nor does an error on our side.
func AtFault(err error) bool {
	var remote *proto.RemoteError
	if errors.As(err, &remote) && remote.Code == wire.ReasonBusy {
		return false
	}
	for _, fault := range []error{errWrong, proto.ErrUnreachable, proto.ErrRefused, proto.ErrRemote, context.DeadlineExceeded} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// judge tells the table at the end of a lookup whom it can not count on. Who
// named nobody nearer than itself, although there are k nearer ones, is of no
// use to anybody. Where nobody was heard it is more likely this node that is cut
// off than all the others.
func (s *search) judge() {
	if !s.heard {
		return
	}
	live := 0
	for _, p := range s.frontier.list {
		if p.state == slow {
			s.server.Table().Doubt(p.ID, p.since)
		}
		if p.state != answered {
			continue
		}
		if !p.helpful && live >= s.frontier.k {
			s.faults = append(s.faults, p)
		} else if !p.helpful {
			s.server.Table().Alive(p.ID, time.Now())
		}
		live++
	}
	for _, p := range s.faults {
		s.server.Table().Failed(p.ID, p.since)
		s.server.Table().Doubt(p.ID, p.since) // so that it is asked soon whether it lives
	}
}
