package routing

import (
	"bytes"
	"time"
)

// Record is one provider's value under a key. Records and their bytes are
// immutable.
type Record struct {
	Value   []byte    // a raw MessagePack map, never re-encoded
	NodeID  []byte    // value.node_id as sent; nil when the value has none
	Expires time.Time // no longer returned from this moment on
	Owned   bool      // stored by the peer whose node id NodeID is; only it may replace it
	Source  string    // whose storage budget it is charged to; empty for our own
}

// Live reports whether the record has not expired at now.
func (r *Record) Live(now time.Time) bool {
	return now.Before(r.Expires)
}

// RecordStore keeps a list of records for each key. It knows no rules and drops
// nothing by itself. Implementations are safe for concurrent use.
type RecordStore interface {
	// Get returns the records of key, none if it is not there. The slice is a
	// snapshot that later updates do not touch; it must not be modified.
	Get(key []byte) ([]Record, error)

	// Update replaces the records of key by what change makes of them, in one
	// step: no other update of the key comes in between. change is called at
	// most once; it must not modify old, nor call the store. Returning old
	// itself changes nothing, an empty list removes the key. The store keeps
	// neither key nor change.
	Update(key []byte, change func(old []Record) []Record) error

	// Range calls visit with each key that begins with prefix, in any order,
	// until visit returns false. The key is valid only during the call, the
	// records are as from Get. Keys that come or go meanwhile may be missed.
	// visit may call the store.
	Range(prefix []byte, visit func(key []byte, recs []Record) bool) error

	// Close releases what the store holds. It is not used afterwards.
	Close() error
}

// replaces reports whether r takes the place of old: it is of the same
// provider or, where none is named, the same value.
func (r *Record) replaces(old Record) bool {
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
