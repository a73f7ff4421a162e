package outbox

import (
	"encoding/binary"
	"runtime"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// batch is what the writer writes next.
type batch struct {
	replies []byte   // in one Write, if they are not too many
	frames  []framed // each in one of its own: some receivers take what comes together for one frame
}

// take fills the batch with what to write next. It reports false where there is
// nothing. Of frames it takes about flushAt, so that answers and what is pushed
// have their turns, and what waits behind can still make room.
func (o *Outbox) take(b *batch) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.replies) > 0 && (o.due || len(o.pushed) > 0 || len(o.replies) >= flushAt || o.state != open) {
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
	for n := 0; n < flushAt && len(o.apart) > 0; {
		n += o.apart[0].cost
		b.frames = append(b.frames, o.apart[0])
		o.apart[0] = framed{}
		o.apart = o.apart[1:]
	}
	if o.state <= finishing {
		for n := 0; n < flushAt && len(o.pushed) > 0; {
			f := o.shiftPushed()
			n += f.cost
			b.frames = append(b.frames, f)
		}
	}
	return len(b.replies)+len(b.frames) > 0
}

// written gives back the memory of what was written, and empties the batch.
func (o *Outbox) written(b *batch) {
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
func (o *Outbox) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.state {
	case open:
		return false
	case finishing:
		return len(o.slots)+len(o.awaited)+len(o.apart)+len(o.replies)+len(o.pushed) == 0
	default:
		return true
	}
}

// End is why writing ended.
type End struct {
	Err   error // nil after Finish or Abort
	First bool  // it ended the stream: reading went on until then
}

// Write writes what waits until the outbox is finished or aborted, or that fails:
// the stream is reset then, which the reader sees.
func (o *Outbox) Write() End {
	b := &o.batch
	for {
		if !o.take(b) {
			if o.over() {
				return End{}
			}
			<-o.wake
			runtime.Gosched() // what is at hand shares the Write
			continue
		}
		err := o.writeBatch(b)
		o.written(b)
		if err != nil {
			o.mu.Lock()
			first := o.state == open
			o.err = err
			o.mu.Unlock()
			signal(o.room)
			o.stream.Reset(proto.ResetCodeOf(err))
			return End{err, first}
		}
	}
}

func (o *Outbox) writeBatch(b *batch) error {
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
func (o *Outbox) writeAll(b []byte) error {
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
func (o *Outbox) setWriteDeadline() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.hurried && !o.patient {
		o.stream.SetWriteDeadline(time.Now().Add(proto.FrameTimeout)) // an error shows in the Write
	}
}

// wholeFrames returns the first frames of b, as many as are n bytes long at most,
// and at least one.
func wholeFrames(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	end := 0
	for end < len(b) {
		next := end + framing.HeaderSize + int(binary.BigEndian.Uint32(b[end+4:]))
		if end > 0 && next > n {
			break
		}
		end = next
	}
	return b[:end]
}
