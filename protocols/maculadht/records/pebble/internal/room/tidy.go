package room

import (
	"bytes"
	"context"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/database"
)

// recordBytes is what a record takes in a table beside its key and value, about.
const recordBytes = 64

// writtenBytes is how much must have been written for it to be worth looking again: what
// is gone is a few dozen bytes a record, the clock as many a minute.
const writtenBytes = 1 << 10

// Tidier clears away what is gone, which Pebble does by itself only where enough is
// written. It is one goroutine's.
type Tidier struct {
	looked  time.Time
	written uint64             // when it was looked last
	cancel  context.CancelFunc // of what is under way
}

// Stop ends what is under way, soon.
func (t *Tidier) Stop() {
	if t.cancel != nil {
		t.cancel()
	}
}

// Tidy has another goroutine, which is one of the database's users, clear away what is gone
// where that is as much as is held, or any where isFull; at most as often as every.
// It looks only where something was written since.
func (t *Tidier) Tidy(db *database.DB, held records.Store, isFull bool, every time.Duration, failed func(error)) {
	if time.Since(t.looked) < every {
		return
	}
	written := db.Metrics().WAL.BytesIn
	if written < t.written { // another opening
		t.written = 0
	}
	if written-t.written < writtenBytes && !t.looked.IsZero() {
		return
	}
	t.Stop() // what is left of it; it has had its time
	t.looked, t.written = time.Now(), written
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	db.Users.Go(func() {
		defer cancel()
		if isFull || isLarge(ctx, db, held) {
			if err := compact(ctx, db); err != nil {
				failed(err)
			}
		}
	})
}

// isLarge reports whether the tables are twice as large as what is held.
func isLarge(ctx context.Context, db *database.DB, held records.Store) bool {
	usage, err := held.Usage(ctx)
	if err != nil {
		return false
	}
	var needed int64
	for _, u := range usage.Sources {
		needed += u.Bytes + u.Records*recordBytes
	}
	return int64(db.Metrics().Table.Local.LiveSize) > 2*needed+db.MemTableBytes
}

// pieceTables is how many tables in memory are merged at once, about.
const pieceTables = 4

// compact has Pebble merge all tables, a range of keys at a time: the whole at once would
// be there twice.
func compact(ctx context.Context, db *database.DB) error {
	levels, err := db.SSTables()
	if err != nil {
		return err
	}
	deepest := levels[0]
	for _, tables := range levels {
		if len(tables) > 0 {
			deepest = tables
		}
	}
	from, size := []byte{0}, int64(0)
	for _, table := range deepest {
		if size += int64(table.Size); size < pieceTables*db.MemTableBytes || bytes.Compare(table.Largest.UserKey, from) <= 0 {
			continue
		}
		if err := db.Compact(ctx, from, table.Largest.UserKey, false); err != nil {
			return err
		}
		from, size = table.Largest.UserKey, 0
	}
	return db.Compact(ctx, from, []byte{0xff}, false)
}
