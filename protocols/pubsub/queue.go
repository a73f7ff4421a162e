package pubsub

// queue holds what waits for somebody slow: a bounded number of messages, and of their
// bytes. The oldest make room. The zero queue is empty; it is guarded by who has it.
type queue[M any] struct {
	waiting []sized[M]
	bytes   int
}

type sized[M any] struct {
	m    M
	size int
}

// push adds a message, and returns how many made room.
func (q *queue[M]) push(m M, size int, l *Limits) (dropped int) {
	for len(q.waiting) > 0 && (len(q.waiting) >= l.Queue || q.bytes+size > l.QueueBytes) {
		q.pop()
		dropped++
	}
	q.waiting = append(q.waiting, sized[M]{m, size})
	q.bytes += size
	return dropped
}

// pop takes the oldest.
func (q *queue[M]) pop() (m M, ok bool) {
	if len(q.waiting) == 0 {
		return m, false
	}
	first := q.waiting[0]
	q.waiting[0] = sized[M]{}
	q.waiting = q.waiting[1:]
	q.bytes -= first.size
	return first.m, true
}
