// Package queue keeps what waits for somebody slow.
package queue

// Queue holds a bounded number of messages, and of their bytes. The oldest make room. The
// zero Queue is empty; it is guarded by who has it.
type Queue[M any] struct {
	waiting []sized[M]
	bytes   int
}

type sized[M any] struct {
	m    M
	size int
}

// Push adds a message of so many bytes to at most so many others, with at most so many bytes
// together, and returns how many made room.
func (q *Queue[M]) Push(m M, size, messages, bytes int) (dropped int) {
	for len(q.waiting) > 0 && (len(q.waiting) >= messages || q.bytes+size > bytes) {
		q.Pop()
		dropped++
	}
	q.waiting = append(q.waiting, sized[M]{m, size})
	q.bytes += size
	return dropped
}

// Pop takes the oldest, and reports whether there was one.
func (q *Queue[M]) Pop() (m M, ok bool) {
	if len(q.waiting) == 0 {
		return m, false
	}
	first := q.waiting[0]
	q.waiting[0] = sized[M]{}
	q.waiting = q.waiting[1:]
	q.bytes -= first.size
	return first.m, true
}

// Len returns how many wait.
func (q *Queue[M]) Len() int { return len(q.waiting) }
