package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

const (
	flushAt   = 32 << 10 // how much of answers is gathered while more requests are at hand
	keepAt    = 64 << 10 // a buffer that grew beyond this is not kept
	firstGrow = 512      // what a stream's first answers have room in

	slotCost = 1 << 10 // what an open slot is reserved at: itself, its timer and the answer for who is late
)

// ErrNoRoom: a frame was dropped, as too much waits to be written to its peer.
var ErrNoRoom = errors.New("no room in the peer's queue")

// errNoMemory: the peer's account has no room for an answer.
var errNoMemory = fmt.Errorf("%w: its account is full", ErrNoRoom)

// outbox is what waits to be written on a stream: first the answers that have
// their turn, then those that wait for an open slot before them, and between them
// what is pushed. What it holds is reserved from the peer's account.
type outbox struct {
	limits  Limits
	memory  wire.Memory
	dropped func(DropReason)

	wake chan struct{} // has a token when the writer may have something to do
	room chan struct{} // has one when less waits

	// Copies of len(replies) and queued, for the reader to look at without mu.
	gatheredNow, queuedNow atomic.Int64

	mu       sync.Mutex
	state    outboxState
	err      error    // why nothing can be written any more
	replies  []byte   // whole frames
	spare    []byte   // the other buffer, while it is not being written
	due      bool     // replies are to be written, be they few
	slots    []*Slot  // in order, the first one open or about to be written
	pushed   []framed // oldest first
	queued   int      // bytes that wait or are being written
	reserved int      // bytes of the account
}

// framed is a frame of its own and what of the account it holds, in bytes.
type framed struct {
	bytes []byte
	cost  int
}

type outboxState uint8

const (
	outboxOpen      outboxState = iota
	outboxFinishing             // nothing is asked any more: what is open is still answered
	outboxAborted               // what has its turn is written, and no more
	outboxClosed
)

func newOutbox(limits Limits, memory wire.Memory, dropped func(DropReason)) *outbox {
	return &outbox{
		limits:  limits,
		memory:  memory,
		dropped: dropped,
		wake:    make(chan struct{}, 1),
		room:    make(chan struct{}, 1),
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reserve takes n bytes of the account; mu is held.
func (o *outbox) reserve(n int) bool {
	if n > 0 {
		const always = 255 // the priority up to which the whole limit may be used
		if o.memory.ReserveMemory(n, always) != nil {
			return false
		}
	}
	o.reserved += n
	return true
}

func (o *outbox) release(n int) {
	o.reserved -= n
	if n > 0 {
		o.memory.ReleaseMemory(n)
	}
}

func (o *outbox) queue(n int) {
	o.queued += n
	o.queuedNow.Store(int64(o.queued))
}

// encode returns a frame of its own for a message. Of its cost a part may be
// reserved already, and what of that it does not need is given back.
func (o *outbox) encode(m wire.Message, already int) (framed, error) {
	size := sizeOf(m)
	more := max(size-already, 0)
	if !o.reserve(more) {
		return framed{}, errNoMemory
	}
	b, err := wire.AppendFrame(make([]byte, 0, size), m)
	if err != nil {
		o.release(more)
		return framed{}, err
	}
	if cap(b) > already+more && !o.reserve(cap(b)-already-more) { // it was larger than thought
		o.release(more)
		return framed{}, errNoMemory
	}
	if cap(b) < already+more {
		o.release(already + more - cap(b))
	}
	return framed{b, cap(b)}, nil
}

// reply adds an answer behind those before it.
func (o *outbox) reply(m wire.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return o.err
	case len(o.slots) > 0:
		frame, err := o.encode(m, 0)
		if err != nil {
			return err
		}
		o.slots = append(o.slots, &Slot{out: o, answer: frame})
		o.queue(len(frame.bytes))
		return nil
	}
	before := len(o.replies)
	if !o.grow(sizeOf(m)) {
		return errNoMemory
	}
	b, err := wire.AppendFrame(o.replies, m)
	if err != nil {
		return err
	}
	if more := cap(b) - cap(o.replies); more > 0 && !o.reserve(more) { // it was larger than thought
		return errNoMemory
	}
	o.replies = b
	o.gatheredNow.Store(int64(len(b)))
	o.queue(len(b) - before)
	return nil
}

// grow makes room for n bytes more of answers, after they are reserved.
func (o *outbox) grow(n int) bool {
	if cap(o.replies)-len(o.replies) >= n {
		return true
	}
	size := max(len(o.replies)+n, min(2*cap(o.replies), cap(o.replies)+flushAt), firstGrow)
	if !o.reserve(size - cap(o.replies)) {
		return false
	}
	b := make([]byte, len(o.replies), size)
	copy(b, o.replies)
	o.replies = b
	return true
}

// gathered returns how many bytes of answers have their turn.
func (o *outbox) gathered() int { return int(o.gatheredNow.Load()) }

// flush has what is gathered written.
func (o *outbox) flush() {
	if o.gatheredNow.Load() == 0 {
		return
	}
	o.mu.Lock()
	o.due = true
	o.mu.Unlock()
	signal(o.wake)
}

// waitForRoom waits while so much waits to be written that no more is to be
// asked. The writer's deadlines end it, and those of the slots.
func (o *outbox) waitForRoom(ctx context.Context) error {
	for o.queuedNow.Load() > int64(o.limits.Queue) {
		o.flush()
		select {
		case <-o.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		o.mu.Lock()
		err := o.err
		o.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *outbox) deferReply(timeout time.Duration, late wire.Message) (*Slot, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return nil, o.err
	case timeout <= 0 || timeout > o.limits.SlotTime:
		return nil, fmt.Errorf("answer deferred for %v: want more than 0 and at most %v", timeout, o.limits.SlotTime)
	case len(o.slots) >= o.limits.Slots || !o.reserve(slotCost):
		return nil, errNoMemory
	}
	s := &Slot{out: o}
	s.late = time.AfterFunc(timeout, func() { _ = o.fill(s, late) }) // fails where it is not late
	o.slots = append(o.slots, s)
	return s, nil
}

func (o *outbox) fill(s *Slot, m wire.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case s.filled():
		return ErrFilled
	case o.state == outboxAborted || o.state == outboxClosed || o.err != nil:
		return proto.ErrClosed
	}
	frame, err := o.encode(m, slotCost)
	if err != nil {
		return err
	}
	s.late.Stop()
	s.answer, o.due = frame, true
	o.queue(len(frame.bytes))
	signal(o.wake)
	return nil
}

func (o *outbox) push(frame []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen || o.err != nil {
		return proto.ErrClosed
	}
	for o.queued+len(frame) > o.limits.Queue && len(o.pushed) > 0 {
		o.dropOldest(DropSlow)
	}
	if o.queued+len(frame) > o.limits.Queue && o.queued > 0 { // answers fill it, or what is being written
		o.dropped(DropSlow)
		return ErrNoRoom
	}
	for !o.reserve(len(frame)) {
		if len(o.pushed) == 0 {
			o.dropped(DropMemory)
			return errNoMemory
		}
		o.dropOldest(DropMemory)
	}
	o.pushed = append(o.pushed, framed{frame, len(frame)})
	o.queue(len(frame))
	signal(o.wake)
	return nil
}

func (o *outbox) dropOldest(why DropReason) {
	f := o.pushed[0]
	o.pushed[0] = framed{}
	o.pushed = o.pushed[1:]
	o.queue(-len(f.bytes))
	o.release(f.cost)
	o.dropped(why)
}

// batch is what the writer writes next.
type batch struct {
	replies []byte   // in one Write
	frames  []framed // each in one of its own: some receivers take what comes together for one frame
}

// pushesAtOnce is how many pushed frames are written before answers have their
// turn again.
const pushesAtOnce = 16

// take returns what to write next. It reports false where there is nothing.
func (o *outbox) take() (b batch, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.replies) > 0 && (o.due || len(o.replies) >= flushAt || o.state != outboxOpen) {
		b.replies, o.replies, o.spare, o.due = o.replies, o.spare[:0], nil, false
		o.gatheredNow.Store(0)
	}
	if len(b.replies) > 0 || len(o.replies) == 0 { // answers of before the slots leave before them
		for len(o.slots) > 0 && o.slots[0].filled() {
			b.frames = append(b.frames, o.slots[0].answer)
			o.slots[0] = nil
			o.slots = o.slots[1:]
		}
	}
	if o.state <= outboxFinishing {
		for range min(pushesAtOnce, len(o.pushed)) {
			b.frames = append(b.frames, o.pushed[0])
			o.pushed[0] = framed{}
			o.pushed = o.pushed[1:]
		}
	}
	return b, len(b.replies)+len(b.frames) > 0
}

// written gives back the memory of what was written.
func (o *outbox) written(b batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(b.replies)
	switch {
	case cap(b.replies) > keepAt || o.spare != nil:
		o.release(cap(b.replies))
	case b.replies != nil:
		o.spare = b.replies[:0]
	}
	for _, f := range b.frames {
		n += len(f.bytes)
		o.release(f.cost)
	}
	o.queue(-n)
	signal(o.room)
}

// over reports whether the writer's work is done.
func (o *outbox) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.state {
	case outboxOpen:
		return false
	case outboxFinishing:
		return len(o.slots)+len(o.replies) == 0
	default:
		return true
	}
}

// write writes what waits until the outbox is finished or aborted. Its error is
// why it could not; the stream is reset then, which the reader sees. It reports
// whether that was what ended the stream.
func (o *outbox) write(stream Stream) writeEnd {
	for {
		b, ok := o.take()
		if !ok {
			if o.over() {
				return writeEnd{}
			}
			<-o.wake
			continue
		}
		err := o.writeBatch(stream, b)
		o.written(b)
		if err != nil {
			o.mu.Lock()
			first := o.state == outboxOpen
			o.err = err
			o.mu.Unlock()
			signal(o.room)
			stream.Reset(proto.ResetCodeOf(err))
			return writeEnd{err, first}
		}
	}
}

// writeEnd is why writing ended, and whether reading went on until then.
type writeEnd struct {
	err   error
	first bool
}

func (o *outbox) writeBatch(stream Stream, b batch) error {
	if len(b.replies) > 0 {
		if err := writeFrames(stream, b.replies); err != nil {
			return err
		}
	}
	for _, frame := range b.frames {
		if err := writeFrames(stream, frame.bytes); err != nil {
			return err
		}
	}
	return nil
}

func writeFrames(stream Stream, b []byte) error {
	stream.SetWriteDeadline(time.Now().Add(proto.FrameTimeout)) // an error shows in the Write
	_, err := stream.Write(b)
	return err
}

// finish has what was asked for answered, and the writer end then.
func (o *outbox) finish() { o.setState(outboxFinishing) }

// abort has what has its turn written, and the writer end then.
func (o *outbox) abort() { o.setState(outboxAborted) }

func (o *outbox) setState(s outboxState) {
	o.mu.Lock()
	o.state = s
	o.mu.Unlock()
	signal(o.wake)
}

// close gives all memory back. The writer has ended.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state = outboxClosed
	for _, s := range o.slots {
		if !s.filled() {
			s.late.Stop()
		}
	}
	o.slots, o.pushed, o.replies, o.spare = nil, nil, nil, nil
	o.release(o.reserved)
}
