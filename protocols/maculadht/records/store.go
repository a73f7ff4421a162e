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
// Every call but Close returns ctx's error, and does nothing, where ctx has ended
// before it begins. Implementations are safe for concurrent use. Package storetest
// tests them.
type Store interface {
	// Get returns the records of key in their order, none if it is not there. The
	// slice is a snapshot that later updates do not touch; it must not be
	// modified.
	Get(ctx context.Context, key []byte) ([]Record, error)

	// Update replaces the records of key by what change makes of them, in one
	// step: no other update of the key comes in between, and whoever reads has all
	// of the old ones or all of the new. change is called at most once; it must
	// not modify old, nor call the store. Returning old itself changes nothing, an
	// empty list removes the key. The store keeps neither key nor change. After an
	// error it is as if Update had not been called.
	Update(ctx context.Context, key []byte, change func(old []Record) []Record) error

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

	// Usage returns what is stored. A store that outlives the process keeps this up
	// to date with its records and does not go through them to answer.
	Usage(ctx context.Context) (Usage, error)

	// Close releases what the store holds. It is not used afterwards.
	Close() error
}

// Cursor is a place in a walk through a store's keys. Its content is the store's
// own.
type Cursor string

// ErrCursor means that a cursor is none of this store's.
var ErrCursor = errors.New("not a cursor of this store")

// Usage is what a store holds.
type Usage struct {
	Keys    int64                  // with at least one record
	Sources map[Source]SourceUsage // by [Record.Source]; none that has no record
}

// SourceUsage is what one source has stored.
type SourceUsage struct {
	Records int64
	// Bytes is the length of the records' values, and of the key for each record.
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
