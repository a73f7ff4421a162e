package dht

import (
	"slices"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// fit returns the records that a reply of limit bytes has room for, and how many it
// leaves out. Where all fit they are in their order. Else half of the room goes to those
// whose turn it is first (see [records.InTurn]), and the rest of it to those that follow
// from a place on that turn says, so that each is told of sooner or later: in every second
// reply before all others one of each who stores, so that whoever has many takes no more of
// that room than who has one. One is always told of.
func fit(recs []records.Record, d *server.Dialect, limit int, turn func() uint64) (fitting []records.Record, left int) {
	size := replyOverhead
	for i := range recs {
		size += recordSize(&recs[i], d)
	}
	if size <= limit && size <= inOrder {
		return recs, 0
	}
	order, payers := records.InTurn(recs)
	room, left := limit-replyOverhead, len(recs)
	take := func(from []int, within int) (rest []int) {
		for _, i := range from {
			if n := recordSize(&recs[i], d); n <= within {
				within -= n
				room -= n
				fitting = append(fitting, recs[i])
			} else {
				rest = append(rest, i)
			}
		}
		return rest
	}
	if size <= limit {
		take(order, room)
		return fitting, 0
	}
	first := room / 2
	if n := recordSize(&recs[order[0]], d); n <= room {
		first = max(first, n)
	}
	around := func(rest []int, turn uint64) (left []int) {
		if len(rest) == 0 {
			return nil
		}
		at := int(turn % uint64(len(rest)))
		return take(slices.Concat(rest[at:], rest[:at]), room)
	}
	ofEach, others := take(order[:payers], first), order[payers:]
	if len(ofEach) == 0 {
		others = take(others, first-(limit-replyOverhead-room))
	}
	switch t := turn(); t % 2 {
	case 0:
		around(ofEach, t/2)
		around(others, t/2)
	default:
		around(slices.Concat(ofEach, others), t/2)
	}
	if len(fitting) == 0 {
		fitting = append(fitting, recs[order[0]])
	}
	return fitting, left - len(fitting)
}

// inOrder is the size of a reply whose records are told of as they are kept: longer ones
// are in the order of their turns, as who gathers several has to leave some out.
const inOrder = 1 << 10
