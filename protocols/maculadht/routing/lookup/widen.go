package lookup

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// wideLookups is how many more lookups there are where the nearest to a key lie too
// densely to be true. Each finds [routing.BucketSize] nodes at most.
const wideLookups = 2

// MaxWider is how many nodes of the wider region there are at most.
const MaxWider = wideLookups * routing.BucketSize

// NodesFor finds the nodes that a value under key is to be put on: it is Nodes and,
// where the nearest lie too densely to be true (package density), finds nodes in the
// wider region as well that should hold as many honest ones.
func (l *Lookups) NodesFor(ctx context.Context, key []byte) (*Found, error) {
	return l.begin(ctx, KindNodes, Search{Key: key, wide: true})
}

// Size returns about how many nodes the network has, by what the lookups of the last
// hour have seen, and whether that is known.
func (l *Lookups) Size() (nodes float64, known bool) { return l.density.Nodes(time.Now()) }

// widen notes how densely the nearest lie and, where that can not be true and it is
// wanted, finds and asks those of the wider region.
func (s *search) widen(ctx context.Context) error {
	closest := s.frontier.closest()
	prefix, dense := s.density.TooDense(s.id, closest, time.Now())
	s.density.Note(s.id, closest, time.Now())
	if !dense || !s.how.wide {
		return nil
	}
	// Half of the region's nodes differ from the key in the bit behind those that all
	// share, a quarter in the next. Where there the lookups end nobody can foresee, so
	// that nobody is there beforehand. Those that are nearer to the key are passed over: a
	// crowd that names nobody but itself would be the nearest there too.
	near := func(id routing.ID) bool { return s.id.CommonPrefixLen(id) >= prefix+wideLookups }
	for i := range wideLookups {
		target := s.id.Beside(prefix+i, s.randomID())
		found, err := s.run(ctx, Search{Key: target[:], passOver: near}, false)
		s.found.Hops = append(s.found.Hops, found.Hops...)
		s.found.Silent += found.Silent
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			continue // nobody answered there
		}
		for _, c := range found.Closest {
			same := func(o routing.Contact) bool { return o.ID == c.ID }
			if !slices.ContainsFunc(closest, same) && !slices.ContainsFunc(s.found.Wider, same) {
				s.found.Wider = append(s.found.Wider, c)
			}
		}
	}
	if s.values {
		return s.askWider(ctx)
	}
	return nil
}

func randomID() (id routing.ID) {
	rand.Read(id[:]) // never fails
	return id
}

// askWider asks those of the wider region for values, all at once. What the nearest have
// said counts for no quorum there.
func (s *search) askWider(ctx context.Context) error {
	s.widened, s.vouched = true, 0
	s.unproved.Reset()
	for _, c := range s.found.Wider {
		if known := s.frontier.known[c.ID]; known == nil || known.state == unasked {
			s.send(ctx, &peerCandidate{Contact: c, group: s.server.Group(c), round: 1})
		}
	}
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	for len(s.slots) > 0 && !s.enough() {
		timer.Reset(lookAgain)
		select {
		case a := <-s.answers:
			s.take(a)
		case <-timer.C:
			s.slots = slices.DeleteFunc(s.slots, s.overdue)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
