package server

import (
	"context"
	"encoding/binary"
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
	gatherAt  = 48 << 10 // how much while those before them are written
	writeAt   = 64 << 10 // how much a peer must take within proto.FrameTimeout
	keepAt    = 64 << 10 // a buffer that grew beyond this is not kept
	firstGrow = 512      // what a stream's first answers have room in

	firstBytes = 4 << 10 // what each stream gets while there is any room at all

	frameCost = 64  // what a frame of its own costs beside its bytes
	slotCost  = 512 // what an open slot costs beside the answer for who is late
)

// ErrNoRoom: a frame was dropped, as too much waits to be written to its peer.
var ErrNoRoom = errors.New("no room in the peer's queue")

// ErrBusy: an answer can not be kept, as its peer's account is full, or as many of
// its answers are outstanding as may be. A handler that returns it has the frame
// answered busy.
var ErrBusy = errors.New("no room for an answer to the peer")

// outbox is what waits to be written on a stream: first the answers that have
// their turn, then those that wait for an open slot before them, and between them
// what is pushed. What it holds is reserved from the peer's account.
type outbox struct {
	stream  Stream
	limits  Limits
	memory  wire.Memory
	dropped func(DropReason)

	wake chan struct{} // has a token when the writer may have something to do
	room chan struct{} // has one when less waits, or less is gathered

	// Copies of len(replies) and queued, for the reader to look at without mu.
	gatheredNow, queuedNow atomic.Int64
	batches                atomic.Int64 // how many were written

	batch batch // the writer's own

	mu         sync.Mutex
	state      outboxState
	err        error    // why nothing can be written any more
	patient    bool     // the peer has all the time that it wants
	hurried    bool     // the deadline of all that is still written is set
	replies    []byte   // whole frames
	spare      []byte   // the other buffer, while it is not being written
	due        bool     // replies are to be written, be they few
	slots      []*Slot  // in order, the first one open or about to be written
	open       int      // how many of them are open
	pushed     []framed // oldest first
	pushedCost int      // of all of them
	queued     int      // bytes of replies and costs of frames that wait or are being written
	reserved   int      // bytes of the account
}

// framed is a frame of its own and what of the account it holds, in bytes.
type framed struct {
	bytes  []byte
	cost   int
	pushed bool
}

// outboxState never goes back.
type outboxState uint8

const (
	outboxOpen      outboxState = iota
	outboxFinishing             // nothing is asked any more: what is open is still answered
	outboxAborted               // what has its turn is written, and no more
	outboxClosed
)

func newOutbox(stream Stream, limits Limits, memory wire.Memory, dropped func(DropReason)) *outbox {
	return &outbox{
		stream:  stream,
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

// reserve takes n bytes of the account; mu is held. What is pushed makes room
// where that suffices.
func (o *outbox) reserve(n int) bool {
	prio := uint8(wire.MemoryFirst)
	if o.reserved+n > firstBytes {
		prio = wire.MemoryMore
	}
	for n > 0 && o.memory.ReserveMemory(n, prio) != nil {
		if o.pushedCost < n {
			return false
		}
		o.dropOldest(DropMemory)
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
	if n < 0 {
		signal(o.room)
	}
}

// encode returns a frame of its own for a message. Of its cost a part may be
// reserved already, and what of that it does not need is given back. On an error
// that part stays reserved.
func (o *outbox) encode(m wire.Message, already int) (framed, error) {
	size := sizeOf(m)
	have := max(frameCost+size, already)
	if !o.reserve(have - already) {
		return framed{}, ErrBusy
	}
	b, err := wire.AppendFrame(make([]byte, 0, size), m)
	cost := frameCost + cap(b)
	switch {
	case err != nil:
	case cost > have: // it was larger than thought
		if !o.reserve(cost - have) {
			err = ErrBusy
		}
	default:
		o.release(have - cost)
	}
	if err != nil {
		o.release(have - already)
		return framed{}, err
	}
	return framed{bytes: b, cost: cost}, nil
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
		o.queue(frame.cost)
		return nil
	}
	before := len(o.replies)
	if !o.grow(sizeOf(m)) {
		return ErrBusy
	}
	b, err := wire.AppendFrame(o.replies, m)
	if err != nil {
		return err
	}
	if more := cap(b) - cap(o.replies); more > 0 && !o.reserve(more) { // it was larger than thought
		return ErrBusy
	}
	o.replies = b
	o.gatheredNow.Store(int64(len(b)))
	o.queue(len(b) - before)
	return nil
}

// grow makes room for n bytes more of answers, after they are reserved.
func (o *outbox) grow(n int) bool {
	if len(o.replies) == 0 && cap(o.replies) < cap(o.spare) {
		o.replies, o.spare = o.spare, o.replies
	}
	need := len(o.replies) + n
	if need <= cap(o.replies) {
		return true
	}
	size := max(need, min(2*cap(o.replies), cap(o.replies)+flushAt), firstGrow)
	if !o.reserve(size - cap(o.replies)) {
		if size = need; !o.reserve(size - cap(o.replies)) {
			return false
		}
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

// waitForRoom waits while more than a queue waits to be written, or more than
// gatherAt has not even begun to be, so that no more is asked. The writer's
// deadlines end it, and those of the slots.
func (o *outbox) waitForRoom(ctx context.Context) error {
	for o.queuedNow.Load() > int64(o.limits.Queue) || o.gathered() > gatherAt {
		o.flush()
		select {
		case <-o.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := o.failed(); err != nil {
			return err
		}
	}
	return nil
}

// waitForBatch waits until something has been written and its memory given back,
// where something is on its way, for proto.FrameTimeout at most.
func (o *outbox) waitForBatch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, proto.FrameTimeout)
	defer cancel()
	for before := o.batches.Load(); o.batches.Load() == before && o.queuedNow.Load() > 0; {
		o.flush()
		select {
		case <-o.room: // which may be of before
		case <-ctx.Done():
			return
		}
	}
}

func (o *outbox) deferReply(timeout time.Duration, late wire.Message) (*Slot, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return nil, o.err
	case timeout <= 0 || timeout > o.limits.SlotTime:
		return nil, fmt.Errorf("answer deferred for %v: want more than 0 and at most %v", timeout, o.limits.SlotTime)
	case o.open >= o.limits.Slots:
		return nil, ErrBusy
	}
	frame, err := o.encode(late, 0)
	if err != nil {
		return nil, err
	}
	if !o.reserve(slotCost) {
		o.release(frame.cost)
		return nil, ErrBusy
	}
	s := &Slot{out: o, open: true, answer: frame}
	s.late = time.AfterFunc(timeout, func() { o.fillLate(s) })
	o.slots = append(o.slots, s)
	o.open++
	return s, nil
}

func (o *outbox) fill(s *Slot, m wire.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !s.open:
		return ErrFilled
	case o.state >= outboxAborted || o.err != nil:
		return proto.ErrClosed
	}
	frame, err := o.encode(m, slotCost+s.answer.cost)
	if err != nil {
		return err
	}
	s.late.Stop()
	o.filled(s, frame)
	return nil
}

// fillLate answers for who is late, which is encoded and can not fail.
func (o *outbox) fillLate(s *Slot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !s.open || o.state >= outboxAborted {
		return
	}
	o.release(slotCost)
	o.filled(s, s.answer)
}

func (o *outbox) filled(s *Slot, frame framed) {
	s.open, s.answer = false, frame
	o.open--
	o.due = true
	o.queue(frame.cost)
	signal(o.wake)
}

func (o *outbox) push(frame []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != outboxOpen || o.err != nil {
		return proto.ErrClosed
	}
	cost := frameCost + len(frame)
	// What can not make room is answers, and what is being written.
	if stays := o.queued - o.pushedCost; stays > 0 && stays+cost > o.limits.Queue {
		o.dropped(DropSlow)
		return ErrNoRoom
	}
	for len(o.pushed) > 0 && o.queued+cost > o.limits.Queue {
		o.dropOldest(DropSlow)
	}
	if !o.reserve(cost) {
		o.dropped(DropMemory)
		return fmt.Errorf("%w: its account is full", ErrNoRoom)
	}
	o.pushed = append(o.pushed, framed{bytes: frame, cost: cost, pushed: true})
	o.pushedCost += cost
	o.queue(cost)
	signal(o.wake)
	return nil
}

func (o *outbox) dropOldest(why DropReason) {
	f := o.shiftPushed()
	o.queue(-f.cost)
	o.release(f.cost)
	o.dropped(why)
}

func (o *outbox) shiftPushed() framed {
	f := o.pushed[0]
	o.pushed[0] = framed{}
	o.pushed = o.pushed[1:]
	o.pushedCost -= f.cost
	return f
}

// batch is what the writer writes next.
type batch struct {
	replies []byte   // in one Write, if they are not too many
	frames  []framed // each in one of its own: some receivers take what comes together for one frame
}

// take fills the batch with what to write next. It reports false where there is
// nothing. Of frames it takes about flushAt, so that answers and what is pushed
// have their turns, and what waits behind can still make room.
func (o *outbox) take(b *batch) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.replies) > 0 && (o.due || len(o.pushed) > 0 || len(o.replies) >= flushAt || o.state != outboxOpen) {
		b.replies, o.replies, o.spare = o.replies, o.spare[:0], nil
		o.gatheredNow.Store(0)
		signal(o.room)
	}
	o.due = false
	if len(o.replies) == 0 { // answers of before the slots leave before them
		for n := 0; n < flushAt && len(o.slots) > 0 && !o.slots[0].open; {
			s := o.slots[0]
			n += s.answer.cost
			b.frames = append(b.frames, s.answer)
			s.answer = framed{} // whoever filled the slot may keep it
			o.slots[0] = nil
			o.slots = o.slots[1:]
		}
	}
	if o.state <= outboxFinishing {
		for n := 0; n < flushAt && len(o.pushed) > 0; {
			f := o.shiftPushed()
			n += f.cost
			b.frames = append(b.frames, f)
		}
	}
	return len(b.replies)+len(b.frames) > 0
}

// written gives back the memory of what was written, and empties the batch.
func (o *outbox) written(b *batch) {
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
		n += f.cost
		o.release(f.cost)
	}
	clear(b.frames)
	b.replies, b.frames = nil, b.frames[:0]
	o.batches.Add(1)
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
		return len(o.slots)+len(o.replies)+len(o.pushed) == 0
	default:
		return true
	}
}

// write writes what waits until the outbox is finished or aborted. Its error is
// why it could not; the stream is reset then, which the reader sees. It reports
// whether that was what ended the stream.
func (o *outbox) write() writeEnd {
	b := &o.batch
	for {
		if !o.take(b) {
			if o.over() {
				return writeEnd{}
			}
			<-o.wake
			continue
		}
		err := o.writeBatch(b)
		o.written(b)
		if err != nil {
			o.mu.Lock()
			first := o.state == outboxOpen
			o.err = err
			o.mu.Unlock()
			signal(o.room)
			o.stream.Reset(proto.ResetCodeOf(err))
			return writeEnd{err, first}
		}
	}
}

// writeEnd is why writing ended, and whether reading went on until then.
type writeEnd struct {
	err   error
	first bool
}

func (o *outbox) writeBatch(b *batch) error {
	err := o.writeAll(b.replies)
	for _, frame := range b.frames {
		if err == nil {
			err = o.writeAll(frame.bytes)
		}
		if err != nil && frame.pushed {
			o.dropped(DropEnded)
		}
	}
	return err
}

// writeAll gives the peer proto.FrameTimeout for each part, so that who is slow
// and steady gets all. A part ends with a frame.
func (o *outbox) writeAll(b []byte) error {
	for len(b) > 0 {
		part := wholeFrames(b, writeAt)
		o.setWriteDeadline()
		if _, err := o.stream.Write(part); err != nil {
			return err
		}
		b = b[len(part):]
	}
	return nil
}

// setWriteDeadline gives a part its time, unless all that is left has one.
func (o *outbox) setWriteDeadline() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hurried && !o.patient {
		o.stream.SetWriteDeadline(time.Now().Add(proto.FrameTimeout)) // an error shows in the Write
	}
}

// keep gives the peer all the time that it wants to take what is written.
func (o *outbox) keep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hurried && !o.patient {
		o.patient = true
		o.stream.SetWriteDeadline(time.Time{})
	}
}

// failed returns why nothing can be written any more.
func (o *outbox) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// wholeFrames returns the first frames of b, as many as are n bytes long at most,
// and at least one.
func wholeFrames(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	end := 0
	for end < len(b) {
		next := end + wire.HeaderSize + int(binary.BigEndian.Uint32(b[end+4:]))
		if end > 0 && next > n {
			break
		}
		end = next
	}
	return b[:end]
}

// finish has what was asked for answered, and the writer end then.
func (o *outbox) finish() { o.setState(outboxFinishing) }

// abort has what has its turn written, all of it within proto.FrameTimeout, and
// the writer end then.
func (o *outbox) abort() {
	o.mu.Lock()
	if !o.hurried {
		o.hurried = true
		o.stream.SetWriteDeadline(time.Now().Add(proto.FrameTimeout))
	}
	o.mu.Unlock()
	o.setState(outboxAborted)
}

func (o *outbox) setState(s outboxState) {
	o.mu.Lock()
	o.state = max(o.state, s)
	o.mu.Unlock()
	signal(o.wake)
}

// close gives all memory back. The writer has ended.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state = outboxClosed
	for _, s := range o.slots {
		if s.open {
			s.late.Stop()
		}
		s.answer = framed{}
	}
	for range o.pushed {
		o.dropped(DropEnded)
	}
	o.slots, o.pushed, o.replies, o.spare = nil, nil, nil, nil
	o.open, o.pushedCost = 0, 0
	o.queue(-o.queued)
	o.release(o.reserved)
}
