package server

import (
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server/outbox"
)

// Limits are those of each stream, and of all streams of a peer, of an IP group
// and of everybody together.
type Limits struct {
	// Accounts is what peers may ask and have buffered, see budget.Limits.
	Accounts budget.Limits
	// Queue is how many bytes may wait to be written, proto.MaxFindValueReply
	// at least. Above it nothing more is read from the peer, and what is pushed
	// to it makes room for what is newer.
	Queue int
	// Slots is how many answers may be outstanding; see [Peer.Defer].
	Slots int
	// SlotTime is the longest that an answer may be outstanding: less than an asker
	// waits before it gives the stream up, and all that is behind on it
	// (client.Limits.Timeout).
	SlotTime time.Duration
}

// DefaultLimits returns 256 KiB that wait, 256 answers outstanding, and 8 s for
// each, and budget.DefaultLimits.
func DefaultLimits() Limits {
	return Limits{Accounts: budget.DefaultLimits(), Queue: 256 << 10, Slots: 256, SlotTime: 8 * time.Second}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	if l.Queue < proto.MaxFindValueReply || l.Slots < 1 || l.SlotTime <= 0 {
		return fmt.Errorf("a queue of %d bytes, %d slots of %v: want at least %d bytes, one slot and more than no time", l.Queue, l.Slots, l.SlotTime, proto.MaxFindValueReply)
	}
	return nil
}

func (l Limits) outbox() outbox.Limits {
	return outbox.Limits{Queue: l.Queue, Slots: l.Slots, SlotTime: l.SlotTime}
}
