package backlog

import "github.com/macula-mesh/macula-node/internal/fair"

// Queue holds messages for somebody slow. What waits is taken in turn by who brought it,
// that of each in its order; of who brought most the oldest make room. The zero Queue is
// empty; it is for one goroutine at a time.
type Queue[M any] struct {
	waiting *fair.Queue[M] // nil for none yet
	n       int
}

// Push adds a message of so many bytes, and returns those that made room: there are at most
// so many messages, and bytes, of which each message costs its share at least.
func (q *Queue[M]) Push(by fair.Payer, m M, size, messages, bytes int) (dropped []M) {
	if q.waiting == nil {
		q.waiting = fair.New[M](bytes, fair.Unlimited)
	}
	came := q.waiting.Add(by, m, max(size, bytes/messages))
	q.n++
	for out := q.waiting.GiveWay(came, true); out != nil; out = q.waiting.GiveWay(came, true) {
		dropped = append(dropped, out.Value)
		q.n--
	}
	return dropped
}

// Pop takes the one whose turn it is.
func (q *Queue[M]) Pop() (m M, ok bool) {
	if q.n == 0 {
		return m, false
	}
	q.n--
	return q.waiting.Pop()
}

// Len returns how many wait.
func (q *Queue[M]) Len() int { return q.n }
