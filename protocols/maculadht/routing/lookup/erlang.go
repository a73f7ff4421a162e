package lookup

import (
	"context"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/negative"
)

// askErlang asks the Erlang contacts nearest to the key, one at a time. For a node
// that is asked, a miss is a burden: it asks all its own peers, each of which may
// do the same. One that takes its time is doing so, and what it does not find
// there others hardly will: they are spared then.
func (s *search) askErlang(ctx context.Context) error {
	for _, c := range s.server.Table().NearestErlang(s.id, routing.BucketSize) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.enough() {
			return nil
		}
		busy, err := s.askErlangContact(ctx, c)
		if err != nil || busy {
			return err
		}
	}
	return nil
}

// askErlangContact asks one Erlang contact, unless it missed a short while ago. Of
// several lookups that want the same of it one asks, and the others wait for what it
// comes to. It reports whether the contact had nothing at hand, and asked others.
func (s *search) askErlangContact(ctx context.Context, c routing.Contact) (busy bool, err error) {
	what := negative.Miss{Contact: c.ID, Key: s.id}
	done, err := s.negative.Begin(ctx, what)
	if done == nil {
		s.spared++
		return false, err
	}
	defer done()
	asked := &peerCandidate{Contact: c, round: 1}
	s.ask(ctx, asked)
	if err := s.await(ctx, asked); err != nil {
		s.drain() // it may leave a miss
		return false, err
	}
	hop := s.found.Hops[len(s.found.Hops)-1] // that of asked
	missed := asked.state == answered && !asked.helpful
	if missed {
		s.negative.Add(what, time.Now())
	}
	return missed && hop.Took >= s.cfg.slow || errors.Is(hop.Err, proto.ErrUnanswered), nil
}

// await takes answers until that of one contact has come. Those of slow ones
// before it may come too.
func (s *search) await(ctx context.Context, from *peerCandidate) error {
	for {
		select {
		case a := <-s.answers:
			s.take(a)
			if a.from == from {
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
