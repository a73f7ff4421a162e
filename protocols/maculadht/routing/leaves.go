package routing

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

const (
	// MissMemory is for how long an Erlang contact that missed is not asked for
	// the same key again, nor one that had not answered when it was given up: it
	// asks others for what it has not, and would only begin anew.
	MissMemory = 60 * time.Second
	// maxMisses is how many misses are remembered. Of more, the oldest go.
	maxMisses = 8192
)

// askLeaves asks the Erlang contacts nearest to the key, one at a time. For a node
// that is asked, a miss is a burden: it asks all its own peers, each of which may
// do the same. One that takes its time is doing so, and what it does not find
// there others hardly will: they are spared then.
func (s *search) askLeaves(ctx context.Context) error {
	libp2p := func(c *Contact) bool { return !c.IsErlang() }
	for _, c := range s.server.table.nearest(s.id, BucketSize, libp2p) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.enough() {
			return nil
		}
		busy, err := s.askLeaf(ctx, c)
		if err != nil || busy {
			return err
		}
	}
	return nil
}

// askLeaf asks one Erlang contact, unless it missed a short while ago. Of several
// lookups that want the same of it one asks, and the others wait for what it
// comes to. It reports whether the contact had nothing at hand, and asked others.
func (s *search) askLeaf(ctx context.Context, c Contact) (busy bool, err error) {
	what := miss{c.ID, s.id}
	done, err := s.misses.begin(ctx, what)
	if done == nil {
		return false, err
	}
	defer done()
	leaf := &peerCandidate{Contact: c, round: 1}
	s.ask(ctx, leaf)
	if err := s.await(ctx, leaf); err != nil {
		s.drain() // it may leave a miss
		return false, err
	}
	hop := s.found.Hops[len(s.found.Hops)-1] // the leaf's
	missed := leaf.state == answered && !leaf.helpful
	if missed {
		s.misses.add(what, time.Now())
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
	contact, key ID
}

// misses remembers who missed what. It is safe for concurrent use.
type misses struct {
	mu    sync.Mutex
	until map[miss]time.Time
	order []miss // the oldest, which is the first to be forgotten, first

	asking map[miss]chan struct{} // closed when the question is done with
}

// begin waits until nobody else asks a contact for a key, and returns what ends the
// question; nil where none is to be asked, as the contact has missed or ctx ended.
func (m *misses) begin(ctx context.Context, what miss) (done func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if time.Now().Before(m.until[what]) {
			return nil, nil
		}
		other, busy := m.asking[what]
		if !busy {
			break
		}
		m.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
		m.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if m.asking == nil {
		m.asking = make(map[miss]chan struct{})
	}
	mine := make(chan struct{})
	m.asking[what] = mine
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.asking, what)
		close(mine)
	}, nil
}

func (m *misses) add(what miss, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.order) > 0 && (len(m.order) >= maxMisses || !now.Before(m.until[m.order[0]])) {
		delete(m.until, m.order[0])
		m.order = m.order[1:]
	}
	if _, there := m.until[what]; there {
		return // another lookup missed at the same time
	}
	if m.until == nil {
		m.until = make(map[miss]time.Time)
	}
	m.until[what] = now.Add(MissMemory)
	m.order = append(m.order, what)
}
