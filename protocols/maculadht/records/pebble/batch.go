package pebble

import (
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/entries"
)

// batchBytes is what one batch takes before it is committed, be there more to write.
const batchBytes = 1 << 20

// batch is what is decided and committed together. Until it is on the disk later
// updates see it and readers do not.
type batch struct {
	write   *pebble.Batch
	lists   []list
	at      map[string]int    // in lists, by key
	values  map[string][]byte // of the state; nil is gone
	waiting []update
	synced  bool

	// What the committer notes when it hands the batch to the worker.
	db      *database.DB
	reading entries.Reading // of the clock, which is in it
	size    int             // in bytes; 0 where there is nothing to write
	began   time.Time
}

// list is what the records of a key become. The key is that of the update.
type list struct {
	key  []byte
	recs []records.Record
}

func newBatch() *batch {
	return &batch{at: make(map[string]int), values: make(map[string][]byte)}
}

// of returns what the records of a key become.
func (b *batch) of(key []byte) (recs []records.Record, there bool) {
	if b == nil || len(b.lists) == 0 {
		return nil, false
	}
	i, there := b.at[string(key)]
	if !there {
		return nil, false
	}
	return b.lists[i].recs, true
}

func (b *batch) set(key []byte, recs []records.Record) {
	if i, there := b.at[string(key)]; there {
		b.lists[i].recs = recs
		return
	}
	b.at[string(key)] = len(b.lists)
	b.lists = append(b.lists, list{key, recs})
}

func (b *batch) isFull() bool {
	return len(b.waiting) >= queued || b.write != nil && b.write.Len() >= batchBytes
}

func (b *batch) isEmpty() bool { return b.write == nil || b.write.Empty() }

// kept calls all that wait.
func (b *batch) kept() {
	for i := range b.waiting {
		b.waiting[i].done(nil)
	}
}

// refused calls all that wait with an error, the last first: each takes back what it had
// done on top of those before it.
func (b *batch) refused(err error) {
	for i := range slices.Backward(b.waiting) {
		b.waiting[i].done(err)
	}
}

// reset makes the batch one to be used again.
func (b *batch) reset() {
	if b.write != nil {
		_ = b.write.Close() // only frees it
	}
	clear(b.lists)
	clear(b.at)
	clear(b.values)
	clear(b.waiting)
	*b = batch{lists: b.lists[:0], at: b.at, values: b.values, waiting: b.waiting[:0]}
}
