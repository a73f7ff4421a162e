package routing

import (
	"context"
	"errors"
	"sync"
	"time"
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
		if s.misses.has(miss{c.ID, s.id}, time.Now()) {
			continue
		}
		leaf := &peerCandidate{Contact: c, round: 1}
		s.ask(ctx, leaf)
		if err := s.await(ctx, leaf); err != nil {
			return err
		}
		if leaf.helpful {
			continue
		}
		last := s.found.Hops[len(s.found.Hops)-1] // the leaf's
		if leaf.state == answered {
			s.misses.add(miss{c.ID, s.id}, time.Now())
		}
		if errors.Is(last.Err, ErrUnanswered) || leaf.state == answered && last.Took >= s.cfg.slow {
			return nil
		}
	}
	return nil
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
}

func (m *misses) has(what miss, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.until[what])
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
