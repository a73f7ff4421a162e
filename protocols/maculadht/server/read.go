package server

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// read hands each frame to its handler.
func (p *Peer) read() error {
	for {
		f, err := p.in.Next()
		switch {
		case err == nil:
			p.midFrame = false // what is behind it is another frame
			if err := p.handle(f); err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			return nil
		default:
			if err := p.lost(err); err != nil {
				return err
			}
			continue
		}
		if p.out.Batched() || !p.in.Ready() {
			p.out.Flush()
		}
		if err := p.out.WaitForRoom(p.ctx); err != nil {
			return err
		}
	}
}

// lost goes on after a frame that could not be read, where the stream is kept:
// what is left of it is skipped, and where nobody knows how long that is nothing
// more is understood. It returns the error where that is all that there is to do.
func (p *Peer) lost(err error) error {
	broken := errors.Is(err, framing.ErrVersion) || errors.Is(err, framing.ErrTooLarge)
	noRoom := errors.Is(err, framing.ErrNoMemory)
	late := errors.Is(err, os.ErrDeadlineExceeded)
	if !p.kept || !broken && !noRoom && !late || p.ctx.Err() != nil {
		return err
	}
	p.mux.count.spared.Add(1)
	p.out.Flush()
	p.stream.SetReadDeadline(time.Time{})
	if p.in.Skip() {
		return nil
	}
	return p.deaf()
}

// deafPause is how long a deaf stream of a peer that is over its budget rests.
const deafPause = 100 * time.Millisecond

// deaf reads until the peer ends the stream, and understands nothing.
func (p *Peer) deaf() error {
	p.in.Close() // it holds nothing meanwhile
	b := make([]byte, 1<<10)
	for {
		if _, err := p.stream.Read(b); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if !p.Charge(1) {
			select {
			case <-time.After(deafPause):
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
		}
	}
}

// handle takes one frame. On a stream that is kept one that would end it is lost
// instead.
func (p *Peer) handle(f framing.Frame) error {
	m := p.mux
	m.count.frame(f.Type)
	var start time.Time
	if m.traced() {
		start = time.Now()
	}
	result := FrameHandled
	err := p.dispatch(f, &result)
	if errors.Is(err, ErrBusy) {
		m.count.busy.Add(1)
		result = FrameBusy
		err = p.busy(f, noRoom)
	}
	if err != nil && p.kept && p.ctx.Err() == nil {
		m.count.spared.Add(1)
		if result == FrameHandled {
			result = FrameDropped
		}
		err = p.out.Err()
	}
	if m.traced() {
		if err != nil && result != FrameUnmet {
			result = FrameFatal
		}
		m.tracer.FrameReceived(p.session.Dialect.Name, f.Type, result, time.Since(start))
	}
	return err
}

func (p *Peer) dispatch(f framing.Frame, result *FrameResult) error {
	if !p.Charge(1) {
		*result = FrameBusy
		return p.busy(f, OverBudget)
	}
	if p.refused != nil && f.Type != wire.TypeConnect {
		*result = FrameDropped
		return p.refuse(f)
	}
	if p.mux.strict && !p.mayAsk(f) {
		*result = FrameUnmet
		return p.connectFirst(f)
	}
	if h := p.mux.handler(f.Type); h != nil {
		return h(p, f)
	}
	*result = FrameDropped
	if !f.Type.Known() {
		return nil // its payload is nobody's concern
	}
	return f.Check()
}

// busy answers a frame that is over a budget, or whose answer there is no room for:
// those that have a word for it. Of others the stream ends, or, where it is kept, the
// frame is lost.
func (p *Peer) busy(f framing.Frame, why *wire.CallError) error {
	refusal := p.mux.refusal(f.Type)
	if refusal == nil {
		return proto.ErrOverBudget
	}
	reply, err := refusal(p, f, why)
	switch {
	case err != nil:
		return err
	case reply == nil:
		return proto.ErrOverBudget
	}
	if err = p.Reply(reply); !errors.Is(err, ErrBusy) {
		return err
	}
	p.out.WaitForBatch(p.ctx)
	if err = p.Reply(reply); errors.Is(err, ErrBusy) {
		return proto.ErrOverBudget
	}
	return err
}

// Why a frame is answered busy.
var (
	// OverBudget: its peer asks too much; see [Peer.Charge].
	OverBudget = &wire.CallError{Code: wire.CodeBusy, Message: "Over this peer's budget, ask more slowly"}

	noRoom = &wire.CallError{Code: wire.CodeBusy, Message: "No room for one more answer to this peer, take those before it"}
)
