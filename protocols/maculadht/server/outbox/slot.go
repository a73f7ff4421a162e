package outbox

import (
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// ErrFilled: a slot has its answer, be it the one for who comes too late.
var ErrFilled = errors.New("the slot is filled")

// Slot is the place of an answer in the order of a stream's answers, or of one that
// has no place in it.
type Slot struct {
	out   *Outbox
	late  *time.Timer // answers when it is late
	apart bool

	// Guarded by out.mu.
	open   bool
	answer framed // while the slot is open the one for who is late; of no bytes once it is being written
}

// Fill answers. It fails with [ErrFilled] where the slot has its answer, with
// [proto.ErrClosed] where the stream has ended, and with [ErrBusy] where the
// peer's account has no room for the answer: who asked then gets the one for who
// is late.
func (s *Slot) Fill(m wire.Message) error { return s.out.fill(s, m) }
