package pubsub

import "sync/atomic"

// Stats count what happened since Topics were made, and what there is.
type Stats struct {
	Published uint64 // messages published here, by clients and by this program
	Received  uint64 // messages of other nodes that were taken
	Delivered uint64 // copies handed to subscribers here
	Sent      uint64 // copies sent to other nodes

	// What was not taken, or not delivered.
	Incomplete uint64 // a PUBLISH without what it must have, or one that is damaged
	Unmet      uint64 // frames of who has not CONNECTed
	Misrouted  uint64 // PUBSUB_ROUTEs for another node, or of too many hops
	Busy       uint64 // frames over their sender's budget
	Refused    uint64 // subscriptions over a limit
	Untold     uint64 // subscriptions of which others are not told, over Limits.Names
	Overflowed uint64 // messages dropped from a full queue of this package
	Unsent     uint64 // messages that another node could not be sent
	Unasked    uint64 // messages that went to those alone who were known, as it was not looked up who else had subscribed

	Subscriptions int // that there are
	Names         int // under which it is told of them
	Topics        int // that are remembered
	Nodes         int // that something is being sent to
}

type counters struct {
	published, received, delivered, sent, untold atomic.Uint64

	dropped map[DropReason]*atomic.Uint64 // each reason's, from the start
}

// Stats returns the counters.
func (t *Topics) Stats() Stats {
	c := &t.count
	s := Stats{
		Published: c.published.Load(), Received: c.received.Load(), Delivered: c.delivered.Load(), Sent: c.sent.Load(),
		Incomplete: c.dropped[DropIncomplete].Load(), Unmet: c.dropped[DropUnmet].Load(), Misrouted: c.dropped[DropMisrouted].Load(),
		Busy: c.dropped[DropBusy].Load(), Refused: c.dropped[DropRefused].Load(), Untold: c.untold.Load(),
		Overflowed: c.dropped[DropSlow].Load(), Unsent: c.dropped[DropUnsent].Load(), Unasked: c.dropped[DropUnasked].Load(),
		Topics: t.cache.Len(), Nodes: t.senders.len(), Names: t.announcer.Len(),
	}
	t.mu.Lock()
	s.Subscriptions = t.subscriptions + t.places.Weight()
	t.mu.Unlock()
	return s
}
