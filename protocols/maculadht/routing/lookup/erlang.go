package lookup

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	// NegativeTTL is for how long an Erlang contact that missed is not asked for
	// the same key again, nor one that had not answered when it was given up: it
	// asks others for what it has not, and would only begin anew.
	NegativeTTL = 60 * time.Second
	// maxNegative is how many misses the negative cache holds. Of more, the oldest go.
	maxNegative = 8192
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
	what := miss{c.ID, s.id}
	done, err := s.negative.begin(ctx, what)
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
		s.negative.add(what, time.Now())
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

// miss is that a contact had nothing for a key.
type miss struct {
	contact, key routing.ID
}

// negativeCache remembers who missed what. It is safe for concurrent use.
type negativeCache struct {
	mu    sync.Mutex
	until map[miss]time.Time
	order []miss // the oldest, which is the first to be forgotten, first

	asking map[miss]chan struct{} // closed when the question is done with
}

// begin waits until nobody else asks a contact for a key, and returns what ends the
// question; nil where none is to be asked, as the contact has missed or ctx ended.
func (c *negativeCache) begin(ctx context.Context, what miss) (done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if time.Now().Before(c.until[what]) {
			return nil, nil
		}
		other, busy := c.asking[what]
		if !busy {
			break
		}
		c.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if c.asking == nil {
		c.asking = make(map[miss]chan struct{})
	}
	mine := make(chan struct{})
	c.asking[what] = mine
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asking, what)
		close(mine)
	}, nil
}

func (c *negativeCache) add(what miss, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.order) > 0 && (len(c.order) >= maxNegative || !now.Before(c.until[c.order[0]])) {
		delete(c.until, c.order[0])
		c.order = c.order[1:]
	}
	if _, there := c.until[what]; there {
		return // another lookup missed at the same time
	}
	if c.until == nil {
		c.until = make(map[miss]time.Time)
	}
	c.until[what] = now.Add(NegativeTTL)
	c.order = append(c.order, what)
}
