package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
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

// Stream is what is written to.
type Stream interface {
	io.Writer
	// Reset ends the stream at once and tells the other end why.
	Reset(proto.ResetCode)
	SetWriteDeadline(time.Time) error
}

// Limits are those of one stream.
type Limits struct {
	// Queue is how many bytes may wait to be written: above it what is pushed makes
	// room, and WaitForRoom waits.
	Queue int
	// Slots is how many answers may be outstanding, each for SlotTime at most.
	Slots    int
	SlotTime time.Duration
}

// DropReason is why a pushed frame was not written.
type DropReason string

// The reasons.
const (
	DropSlow   DropReason = "slow"   // the peer takes what is pushed more slowly than it comes
	DropMemory DropReason = "memory" // its account had no room
	DropEnded  DropReason = "ended"  // its stream ended first
)

// drops are pushed frames that were not written, by reason.
type drops struct{ slow, memory, ended int }

// Outbox is what waits to be written on a stream: first the answers that have
// their turn, then those that wait for an open slot before them, and between them
// what is pushed and the answers that have no place in the order. What it holds is
// reserved from memory. Reply, Defer, DeferApart and the methods that wait are for the
// goroutine that reads, Write for the one that writes; Push and [Slot.Fill] are for
// anybody.
type Outbox struct {
	stream  Stream
	limits  Limits
	memory  framing.Memory
	dropped func(DropReason) // called without mu

	wake chan struct{} // has a token when the writer may have something to do
	room chan struct{} // has one when less waits, or less is gathered

	// Copies of len(replies) and queued, for the reader to look at without mu.
	gatheredNow, queuedNow atomic.Int64
	batches                atomic.Int64 // how many were written

	batch batch // the writer's own

	mu         sync.Mutex
	state      state
	err        error              // why nothing can be written any more
	patient    bool               // the peer has all the time that it wants
	hurried    bool               // the deadline of all that is still written is set
	replies    []byte             // whole frames
	spare      []byte             // the other buffer, while it is not being written
	due        bool               // replies are to be written, be they few
	slots      []*Slot            // in order, the first one open or about to be written
	apart      []framed           // answers without a place in the order
	awaited    map[*Slot]struct{} // the open slots of such answers
	open       int                // how many slots are open, of both
	pushed     []framed           // oldest first
	pushedCost int                // of all of them
	queued     int                // bytes of replies and costs of frames that wait or are being written
	reserved   int                // bytes of the account
	drops      drops              // not told of yet
}

// framed is a frame of its own and what of the account it holds, in bytes.
type framed struct {
	bytes  []byte
	cost   int
	pushed bool
}

// state never goes back.
type state uint8

const (
	open      state = iota
	finishing       // nothing is asked any more: what is open is still answered
	aborted         // what has its turn is written, and no more
	closed
)

// New returns an outbox of a stream, which reserves from memory what it holds.
// Each pushed frame that is not written is told to dropped, which may use the
// outbox.
func New(stream Stream, limits Limits, memory framing.Memory, dropped func(DropReason)) *Outbox {
	return &Outbox{
		stream:  stream,
		limits:  limits,
		memory:  memory,
		dropped: dropped,
		wake:    make(chan struct{}, 1),
		room:    make(chan struct{}, 1),
	}
}

// unlock unlocks mu, and tells of what was dropped under it.
func (o *Outbox) unlock() {
	d := o.drops
	o.drops = drops{}
	o.mu.Unlock()
	if d != (drops{}) {
		o.tell(d)
	}
}

func (o *Outbox) tell(d drops) {
	for range d.slow {
		o.dropped(DropSlow)
	}
	for range d.memory {
		o.dropped(DropMemory)
	}
	for range d.ended {
		o.dropped(DropEnded)
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
func (o *Outbox) reserve(n int) bool {
	prio := uint8(framing.MemoryFirst)
	if o.reserved+n > firstBytes {
		prio = framing.MemoryMore
	}
	for n > 0 && o.memory.ReserveMemory(n, prio) != nil {
		if o.pushedCost < n {
			return false
		}
		o.dropOldest(&o.drops.memory)
	}
	o.reserved += n
	return true
}

func (o *Outbox) release(n int) {
	o.reserved -= n
	if n > 0 {
		o.memory.ReleaseMemory(n)
	}
}

func (o *Outbox) queue(n int) {
	o.queued += n
	o.queuedNow.Store(int64(o.queued))
	if n < 0 {
		signal(o.room)
	}
}

// encode returns a frame of its own for a message. Of its cost a part may be
// reserved already, and what of that it does not need is given back. On an error
// that part stays reserved.
func (o *Outbox) encode(m wire.Message, already int) (framed, error) {
	size := sizeOf(m)
	have := max(frameCost+size, already)
	if !o.reserve(have - already) {
		return framed{}, ErrBusy
	}
	b, err := framing.AppendFrame(make([]byte, 0, size), m)
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

// Reply adds an answer behind those before it. It fails with [ErrBusy] where there
// is no room for it, and with what Write failed with after that.
func (o *Outbox) Reply(m wire.Message) error {
	o.mu.Lock()
	defer o.unlock()
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
	b, err := framing.AppendFrame(o.replies, m)
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
func (o *Outbox) grow(n int) bool {
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
func (o *Outbox) gathered() int { return int(o.gatheredNow.Load()) }

// Batched reports whether so much is gathered that it is to be written, whatever is
// asked next.
func (o *Outbox) Batched() bool { return o.gathered() >= flushAt }

// Flush has what is gathered written.
func (o *Outbox) Flush() {
	if o.gatheredNow.Load() == 0 {
		return
	}
	o.mu.Lock()
	o.due = true
	o.mu.Unlock()
	signal(o.wake)
}

// WaitForRoom waits while more than a queue waits to be written, or more than
// gatherAt has not even begun to be, so that no more is asked. The writer's
// deadlines end it, and those of the slots.
func (o *Outbox) WaitForRoom(ctx context.Context) error {
	for o.queuedNow.Load() > int64(o.limits.Queue) || o.gathered() > gatherAt {
		o.Flush()
		select {
		case <-o.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := o.Err(); err != nil {
			return err
		}
	}
	return nil
}

// WaitForBatch waits until something has been written and its memory given back,
// where something is on its way, for proto.FrameTimeout at most.
func (o *Outbox) WaitForBatch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, proto.FrameTimeout)
	defer cancel()
	for before := o.batches.Load(); o.batches.Load() == before && o.queuedNow.Load() > 0; {
		o.Flush()
		select {
		case <-o.room: // which may be of before
		case <-ctx.Done():
			return
		}
	}
}

// Defer keeps the place of an answer that comes later. Unless the slot is filled
// within the timeout, which is SlotTime at most, late is the answer; it is encoded
// at once. It fails with [ErrBusy] where there are Limits.Slots of them.
func (o *Outbox) Defer(timeout time.Duration, late wire.Message) (*Slot, error) {
	return o.deferSlot(timeout, late, false)
}

// DeferApart is Defer for an answer that has no place in the order: it leaves when it
// is there, whatever was asked before and is asked meanwhile. It is for askers that tell
// answers apart by an id in them.
func (o *Outbox) DeferApart(timeout time.Duration, late wire.Message) (*Slot, error) {
	return o.deferSlot(timeout, late, true)
}

func (o *Outbox) deferSlot(timeout time.Duration, late wire.Message, apart bool) (*Slot, error) {
	o.mu.Lock()
	defer o.unlock()
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
	s := &Slot{out: o, open: true, apart: apart, answer: frame}
	s.late = time.AfterFunc(timeout, func() { o.fillLate(s) })
	if apart {
		if o.awaited == nil {
			o.awaited = make(map[*Slot]struct{})
		}
		o.awaited[s] = struct{}{}
	} else {
		o.slots = append(o.slots, s)
	}
	o.open++
	return s, nil
}

func (o *Outbox) fill(s *Slot, m wire.Message) error {
	o.mu.Lock()
	defer o.unlock()
	switch {
	case !s.open:
		return ErrFilled
	case o.state >= aborted || o.err != nil:
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
func (o *Outbox) fillLate(s *Slot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !s.open || o.state >= aborted {
		return
	}
	o.release(slotCost)
	o.filled(s, s.answer)
}

func (o *Outbox) filled(s *Slot, frame framed) {
	s.open, s.answer = false, frame
	o.open--
	if s.apart {
		delete(o.awaited, s)
		o.apart = append(o.apart, frame)
		s.answer = framed{} // whoever filled the slot may keep it
	}
	o.due = true
	o.queue(frame.cost)
	signal(o.wake)
}

// Push adds a frame that answers nothing, which must not be modified from then on.
// The oldest that wait make room for it. It fails with [ErrNoRoom] where the frame
// itself was dropped, and with [proto.ErrClosed] after the end.
func (o *Outbox) Push(frame []byte) error {
	o.mu.Lock()
	defer o.unlock()
	if o.state != open || o.err != nil {
		return proto.ErrClosed
	}
	cost := frameCost + len(frame)
	// What can not make room is answers, and what is being written.
	if stays := o.queued - o.pushedCost; stays > 0 && stays+cost > o.limits.Queue {
		o.drops.slow++
		return ErrNoRoom
	}
	for len(o.pushed) > 0 && o.queued+cost > o.limits.Queue {
		o.dropOldest(&o.drops.slow)
	}
	if !o.reserve(cost) {
		o.drops.memory++
		return fmt.Errorf("%w: its account is full", ErrNoRoom)
	}
	o.pushed = append(o.pushed, framed{bytes: frame, cost: cost, pushed: true})
	o.pushedCost += cost
	o.queue(cost)
	signal(o.wake)
	return nil
}

func (o *Outbox) dropOldest(why *int) {
	f := o.shiftPushed()
	o.queue(-f.cost)
	o.release(f.cost)
	*why++
}

func (o *Outbox) shiftPushed() framed {
	f := o.pushed[0]
	o.pushed[0] = framed{}
	o.pushed = o.pushed[1:]
	o.pushedCost -= f.cost
	return f
}

// Keep gives the peer all the time that it wants to take what is written.
func (o *Outbox) Keep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hurried && !o.patient {
		o.patient = true
		o.stream.SetWriteDeadline(time.Time{})
	}
}

// Err returns why nothing can be written any more.
func (o *Outbox) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// Finish has what was asked for answered, and the writer end then.
func (o *Outbox) Finish() { o.setState(finishing) }

// Abort has what has its turn written, all of it within proto.FrameTimeout, and
// the writer end then.
func (o *Outbox) Abort() {
	o.mu.Lock()
	if !o.hurried {
		o.hurried = true
		o.stream.SetWriteDeadline(time.Now().Add(proto.FrameTimeout))
	}
	o.mu.Unlock()
	o.setState(aborted)
}

func (o *Outbox) setState(s state) {
	o.mu.Lock()
	o.state = max(o.state, s)
	o.mu.Unlock()
	signal(o.wake)
}

// Close gives all memory back. The writer has ended.
func (o *Outbox) Close() {
	o.mu.Lock()
	defer o.unlock()
	o.state = closed
	for _, s := range o.slots {
		if s.open {
			s.late.Stop()
		}
		s.answer = framed{}
	}
	for s := range o.awaited {
		s.late.Stop()
		s.answer = framed{}
	}
	o.drops.ended += len(o.pushed)
	o.slots, o.apart, o.awaited, o.pushed, o.replies, o.spare = nil, nil, nil, nil, nil, nil
	o.open, o.pushedCost = 0, 0
	o.queue(-o.queued)
	o.release(o.reserved)
}
