package pubsub

import (
	"context"
	"iter"
	"sync"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/backlog"
)

// Subscription is one of this program, until it is closed:
//
//	s, err := topics.Subscribe(ctx, "sensors.*.temp")
//	…
//	defer s.Close()
//	for m := range s.Messages() {
//		fmt.Println(m.Topic, string(m.Payload()))
//	}
//
// Messages wait in a queue of Limits.Queue until they are read; the oldest go where it is
// full. It is safe for concurrent use.
type Subscription struct {
	topics *Topics
	entry  *entry
	wake   chan struct{} // has a token when there is something to read
	ended  chan struct{} // closed with it
	once   sync.Once

	mu      sync.Mutex
	stop    func() bool // ends what waits for the end of the context
	waiting backlog.Queue[Message]
	dropped uint64
}

// Pattern returns what was subscribed to.
func (s *Subscription) Pattern() string { return s.entry.pattern }

// push adds a message; it never waits.
func (s *Subscription) push(m *message) bool {
	l := &s.topics.cfg.limits
	s.mu.Lock()
	dropped := len(s.waiting.Push(m.by, m.Message, m.size(), l.Queue, l.QueueBytes))
	s.dropped += uint64(dropped)
	s.mu.Unlock()
	if dropped > 0 {
		s.topics.dropped(DropSlow, dropped)
	}
	wakeUp(s.wake)
	return true
}

// Next returns the next message, and waits for it. The error is [proto.ErrClosed] once
// the subscription has ended, or that of ctx.
func (s *Subscription) Next(ctx context.Context) (Message, error) {
	for {
		select {
		case <-s.ended:
			return Message{}, proto.ErrClosed
		default:
		}
		s.mu.Lock()
		m, ok := s.waiting.Pop()
		more := s.waiting.Len() > 0
		s.mu.Unlock()
		if ok {
			if more { // for others that wait
				wakeUp(s.wake)
			}
			return m, nil
		}
		select {
		case <-s.wake:
		case <-s.ended:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

// Messages yields the messages as they come, until the subscription ends. Breaking out of
// the loop does not end it.
func (s *Subscription) Messages() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for {
			m, err := s.Next(context.Background())
			if err != nil || !yield(m) {
				return
			}
		}
	}
}

// Dropped returns how many messages were dropped as they were not read.
func (s *Subscription) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Announced is closed once another node holds the record by which others find this
// subscription; never where no other node is known, or Limits.Names keeps it from being
// told. What is published at this node comes from the beginning.
func (s *Subscription) Announced() <-chan struct{} {
	if s.entry.told == nil {
		return nil
	}
	return s.entry.told.Told()
}

// Close ends it. What has not been read is dropped. Further calls do nothing.
func (s *Subscription) Close() {
	s.once.Do(func() {
		close(s.ended)
		t := s.topics
		t.leave(s.entry)
		t.announcer.Unwant(s.entry.told)
		t.mu.Lock()
		delete(t.apps, s)
		t.mu.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiting = backlog.Queue[Message]{}
		if s.stop != nil {
			s.stop()
		}
	})
}
