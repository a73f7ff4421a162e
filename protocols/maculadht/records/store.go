package records

import (
	"context"
	"errors"
	"time"
)

// Store keeps a list of records for each key, with what a disk needs to answer
// without a scan: which keys have expired records, and what each source has
// stored. It knows no rules and drops nothing by itself.
//
// Every call with a context returns its error, and does nothing, where it has ended
// before the call begins. Implementations are safe for concurrent use. Package
// storetest tests them.
type Store interface {
	// Get returns the records of key in their order, none if it is not there. The
	// slice is a snapshot that later updates do not touch; it must not be
	// modified.
	Get(ctx context.Context, key []byte) ([]Record, error)

	// Update replaces the records of key by what change makes of them, in one
	// step: no other update of the key comes in between, and whoever reads has all
	// of the old ones or all of the new. Updates of a key take effect in the order
	// in which they were called. change is called at most once; it must not modify
	// old, nor call the store. Returning old itself changes nothing, an empty list
	// removes the key; any other list is the store's from then on.
	//
	// Update does not wait for the disk, at most for room in a queue, for which ctx
	// bounds the time. done is called exactly once, after change, before Update
	// returns or later and from any goroutine: with nil when the update can be read
	// and is as durable as d says, or with an error, and then it is as if Update had
	// not been called: of several updates of a key the last is told first. It may read, but it holds up others: it returns soon and waits
	// for no update. Until then key is not modified; afterwards the store keeps
	// neither key nor change.
	Update(ctx context.Context, key []byte, d Durability, change func(old []Record) []Record, done func(error))

	// Keys returns a page of the keys that begin with prefix: at most max of them,
	// which is 1 or more, in an order of the store's own, and the cursor of the page
	// that follows. The empty cursor begins a walk, at another place each time; it is
	// returned with the last page. Other pages too may have fewer keys, or none.
	//
	// Of a walk through all pages: a key that is there from its beginning to its end
	// comes exactly once. One that comes or goes meanwhile may be missed, and one
	// that goes and comes again may come twice. Between two pages nothing is held,
	// neither a lock nor a snapshot, so a walk may take its time, and need not be
	// ended. The keys are the caller's. A cursor that this store has not made with
	// the same prefix, as it was opened now, gives an [ErrCursor] or any place.
	Keys(ctx context.Context, prefix []byte, cursor Cursor, max int) (keys [][]byte, next Cursor, err error)

	// Expired returns keys under which a record has expired at now (see
	// [Record.Live]), at most max of them, which is 1 or more. Fewer than max are all
	// that there are. It takes time by what it returns, not by what is stored.
	Expired(ctx context.Context, now time.Time, max int) (keys [][]byte, err error)

	// Usage returns what is stored. It may go through all of it: it is asked for once,
	// when the store has been opened.
	Usage(ctx context.Context) (Usage, error)

	// ID names what is stored since it was begun, in 16 random bytes: one that
	// outlives the process keeps it. It is not modified.
	ID() []byte

	// Failing returns why nothing can be stored at the moment, such as a full disk,
	// a disk that does not answer, or nil. What is stored can be read all the same.
	Failing() error

	// Close finishes the updates that were called, and releases what the store
	// holds. It is not used afterwards. Where that takes more than some 3 s, as a disk
	// hangs, Close returns an error that says what is left.
	Close() error
}

// Durability is what an update survives once it is done.
type Durability uint8

const (
	// Soon is an update that survives the end of the process, and that of the machine's
	// power, after 100 ms; until then it may survive neither.
	Soon Durability = iota
	// Synced is an update that survives the end of the machine's power.
	Synced
)

// Cursor is a place in a walk through a store's keys. Its content is the store's
// own.
type Cursor string

// ErrCursor means that a cursor is none of this store's.
var ErrCursor = errors.New("not a cursor of this store")

// Usage is what a store holds.
type Usage struct {
	Keys    int64                  // with at least one record
	Sources map[Source]SourceUsage // by [Record.Source]; none that has no record
	Owned   SourceUsage            // of all of it, what is [Record.Owned]
}

// SourceUsage is what one source has stored.
type SourceUsage struct {
	Records int64
	// Bytes is the length of the records' values, what their proofs cost, and the length of
	// the key for each record.
	Bytes int64
}

// soonest returns when the first of some records expires; there is at least one.
func soonest(recs []Record) time.Time {
	first := recs[0].Expires
	for i := range recs[1:] {
		if e := recs[i+1].Expires; e.Before(first) {
			first = e
		}
	}
	return first
}
