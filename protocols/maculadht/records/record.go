package records

import (
	"bytes"
	"time"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/internal/residents"
)

// Record is one provider's value under a key. Records and their bytes are
// immutable.
type Record struct {
	Value   []byte    // a raw MessagePack map, never re-encoded; empty in a tombstone
	NodeID  []byte    // value.node_id as sent; nil when the value has none
	Expires time.Time // no longer returned from this moment on
	Owned   bool      // stored by the peer whose node id NodeID is, or proved; only it may replace it
	Direct  bool      // stored here first-hand, by who has no other way; see Put.Direct
	Proof   *Proof    // that it is of NodeID; nil where nothing proves that
	Place   uint32    // of the store alone: where on its disk the record stands in its list, 0 for nowhere
	Source  Source    // whose storage budget it is charged to; zero for our own

	resident *residents.Resident // of the manager alone: how it gives way; nil for our own, and for what was there before
}

// RecordOverhead is what a record costs beside its value, its proof and its key, in bytes:
// the Record itself, its share of maps and lists, and what its source costs the
// ledger at most.
const RecordOverhead = 192 + budget.LedgerOverhead

// Cost is what a record under key is charged, in bytes. The key counts for each
// record, so that each source pays for itself.
func Cost(key []byte, r *Record) int64 {
	return r.bytes(len(key)) + RecordOverhead
}

// bytes is the part of the cost that the record's content makes.
func (r *Record) bytes(key int) int64 { return int64(key + len(r.Value) + r.Proof.size()) }

// Source is whose storage budget pays: by Name a libp2p peer or an IP address,
// by Group the IP group that it came from. The zero Source is this node itself.
type Source = budget.Source

// Asker is who asks for values, and waits for them.
type Asker struct {
	// Source is who pays.
	Source Source
	// Client says that the question came on a stream that has CONNECTed. On another
	// one it may be from an Erlang gateway that works through a miss of its own: it
	// asks all nodes that it knows, one after the other, and crashes after 10 s.
	Client bool
}

// Live reports whether the record has not expired at now.
func (r *Record) Live(now time.Time) bool {
	return now.Before(r.Expires)
}

// IsOfSameProvider reports whether r takes the place of old: it is of the same
// provider or, where none is named, the same value.
func (r *Record) IsOfSameProvider(old Record) bool {
	if r.NodeID == nil || old.NodeID == nil {
		return r.NodeID == nil && old.NodeID == nil && bytes.Equal(r.Value, old.Value)
	}
	return bytes.Equal(r.NodeID, old.NodeID)
}

// split parts the live records from the expired, in order. When none has
// expired, live is recs itself and nothing is allocated.
func split(recs []Record, now time.Time) (live, expired []Record) {
	dead := 0
	for i := range recs {
		if !recs[i].Live(now) {
			dead++
		}
	}
	if dead == 0 {
		return recs, nil
	}
	live, expired = make([]Record, 0, len(recs)-dead), make([]Record, 0, dead)
	for i := range recs {
		if recs[i].Live(now) {
			live = append(live, recs[i])
		} else {
			expired = append(expired, recs[i])
		}
	}
	return live, expired
}

// Provider returns what tells a record from those of other providers under its key:
// the node id or, where none is named, the value.
func (r *Record) Provider() string {
	if r.NodeID == nil {
		return "value:" + string(r.Value)
	}
	return "id:" + string(r.NodeID)
}
