package lookup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// search is one lookup under way. The caller's goroutine does all of its
// thinking; each query has one that waits.
type search struct {
	*Lookups

	id       routing.ID   // what is searched for
	question wire.Message // shared by all queries, so read only
	nodes    wire.Message // for those that have answered with a value
	values   bool         // it asks for values
	how      Search
	frontier *frontier
	merged   merger
	found    Found

	slots   []*peerCandidate // who holds a slot, asked longest ago first
	pending int              // queries whose answer was not taken
	answers chan answer
	queries sync.WaitGroup

	heard  bool         // somebody answered, be it rubbish
	faults []routing.ID // who did not answer as they should
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
		how:      how,
		answers:  make(chan answer),
	}
	if values {
		s.question = &wire.FindValue{Key: target}
	}
	l.visited.note(l.server.Self().CommonPrefixLen(s.id), time.Now())
	s.frontier = newFrontier(s.id, l.server.Self(), routing.BucketSize)
	defer s.judge()
	defer s.drain()
	defer cancel()

	s.begin(ctx, target)
	err := s.askAll(ctx)
	if err == nil && values && s.found.Holders == 0 && !how.PeersOnly {
		err = s.askErlang(ctx)
	}
	s.found.Closest = s.frontier.closest()
	s.found.Values = s.merged.values(time.Now())
	return &s.found, err
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
	records, _ := s.server.Records().Values(ctx, key)
	own := make([]FoundValue, 0, len(records))
	for i := range records {
		if v, err := wire.ParseValue(records[i].Value); err == nil {
			own = append(own, FoundValue{v, records[i].Expires})
		}
	}
	if len(own) > 0 {
		s.hold(own)
	}
}

// hold takes in what a holder has.
func (s *search) hold(values []FoundValue) {
	s.found.Holders++
	s.merged.add(values...)
	if s.how.OnValues != nil {
		s.how.OnValues(values)
	}
}

// enough reports whether so many had a value that others need not be asked.
func (s *search) enough() bool {
	return s.values && s.cfg.quorum > 0 && s.found.Holders >= s.cfg.quorum
}

// width is how many slots there are. Once the alpha nearest have answered there
// is hardly anybody nearer left to hear of, so the rest of the k nearest, which
// have to answer all the same, are asked at once, as Kademlia ends its lookups.
// A value may spare them the question, so those who look for one go on as before.
func (s *search) width() int {
	if !s.values && s.frontier.reached(s.cfg.alpha) {
		return max(s.cfg.alpha, s.frontier.k)
	}
	return s.cfg.alpha
}

// askAll asks libp2p contacts, as many at a time as there are slots, until there
// is nothing left to learn from them.
func (s *search) askAll(ctx context.Context) error {
	timer := time.NewTimer(s.cfg.slow)
	defer timer.Stop()
	for !s.enough() {
		if err := ctx.Err(); err != nil {
			return err
		}
		for len(s.slots) < s.width() {
			p := s.frontier.next()
			if p == nil {
				break
			}
			s.slots = append(s.slots, p)
			s.ask(ctx, p)
		}
		if s.frontier.settled() {
			p := s.frontier.holder()
			if !s.values || p == nil {
				return nil
			}
			s.slots = append(s.slots, p)
			s.ask(ctx, p)
		}
		var overdue <-chan time.Time
		if len(s.slots) > 0 {
			timer.Reset(time.Until(s.slots[0].since.Add(s.cfg.slow)))
			overdue = timer.C
		}
		select {
		case a := <-s.answers:
			s.take(a)
		case <-overdue:
			s.slots[0].state = slow
			s.slots = slices.Delete(s.slots, 0, 1)
		case <-ctx.Done():
		}
	}
	return nil
}

// ask sends the question to a contact. Its answer comes, always.
func (s *search) ask(ctx context.Context, p *peerCandidate) {
	p.since = time.Now()
	s.pending++
	to, since, question := p.Contact, p.since, s.question
	if p.again {
		question = s.nodes
	}
	s.queries.Go(func() {
		reply, err := s.Query(ctx, to, question)
		if to.IsErlang() && errors.Is(err, proto.ErrUnanswered) {
			s.negative.add(miss{to.ID, s.id}, time.Now()) // what it has it says at once
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
	hop := Hop{Contact: p.Contact, Round: p.round, Took: a.took, Err: a.err}
	if a.err == nil {
		hop.Nodes, hop.Values, hop.Err = s.learn(p, a.reply)
	}
	s.heard = s.heard || a.err == nil || errors.Is(a.err, proto.ErrRemote)
	switch {
	case hop.Err != nil:
		p.state = dropped
		p.retry = errors.Is(hop.Err, proto.ErrUnreachable) && !p.retried
		p.retried = true
		if !p.IsErlang() && AtFault(hop.Err) {
			s.faults = append(s.faults, p.ID)
		}
	default:
		p.state = answered
		if p.helpful || p.IsErlang() {
			s.server.Table().Alive(p.ID, time.Now())
		}
	}
	s.found.Hops = append(s.found.Hops, hop)
	if s.cfg.observe != nil {
		s.cfg.observe(hop)
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
			s.server.Table().Doubt(p.ID)
		}
		if p.state != answered {
			continue
		}
		if !p.helpful && live >= s.frontier.k {
			s.faults = append(s.faults, p.ID)
		} else if !p.helpful {
			s.server.Table().Alive(p.ID, time.Now())
		}
		live++
	}
	for _, id := range s.faults {
		s.server.Table().Failed(id)
	}
}
