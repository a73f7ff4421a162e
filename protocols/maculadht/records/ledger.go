package records

import (
	"errors"
	"sync"
)

// What storage may cost, in bytes.
const (
	// DefaultBytes is what all records may cost together: 512 MiB.
	DefaultBytes = 512 << 20
	// DefaultSourceShare is the part of the total that one source may use: a
	// sixteenth.
	DefaultSourceShare = 16
	// RecordOverhead is what a record costs beside its value and its key: the
	// Record itself and its share of maps and lists.
	RecordOverhead = 192
)

// Why a record was not stored.
var (
	// ErrStoreFull means that the total budget is used up.
	ErrStoreFull = errors.New("store full")
	// ErrSourceBudget means that its source has used up its own budget.
	ErrSourceBudget = errors.New("source over its storage budget")
)

// ledger knows what the stored records cost, in all and by source. It is
// written to while the store holds the key's lock, so that it always equals
// what is stored.
type ledger struct {
	total     int64 // limit for all
	perSource int64 // limit for each source but our own

	mu      sync.Mutex
	bytes   int64
	records int64
	sources map[string]int64 // bytes used; no entry when none
}

func newLedger(limits Limits) *ledger {
	return &ledger{total: limits.Bytes, perSource: limits.BytesPerSource, sources: make(map[string]int64)}
}

// Cost is what a record under key is charged. The key counts for each record,
// so that each source pays for itself.
func Cost(key []byte, r *Record) int64 {
	return int64(len(key) + len(r.Value) + RecordOverhead)
}

// post enters that under key the removed records went and added, if any, came.
// It refuses, and enters nothing, when added's source would grow over its
// budget or all records over the total. Our own records (no source) count but
// are never refused, and nor is a replacement that is no larger.
func (l *ledger) post(key []byte, removed []Record, added *Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if added == nil {
		l.enter(key, removed, -1)
		return nil
	}
	bytes, used := l.bytes, l.sources[added.Source]
	l.enter(key, removed, -1)
	l.enterOne(key, added, +1)

	var err error
	switch {
	case added.Source == "":
	case l.sources[added.Source] > max(l.perSource, used):
		err = ErrSourceBudget
	case l.bytes > max(l.total, bytes):
		err = ErrStoreFull
	}
	if err != nil {
		l.enterOne(key, added, -1)
		l.enter(key, removed, +1)
	}
	return err
}

// undo takes back a post that succeeded.
func (l *ledger) undo(key []byte, removed []Record, added *Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if added != nil {
		l.enterOne(key, added, -1)
	}
	l.enter(key, removed, +1)
}

// load enters what each source has stored already, whatever the limits.
func (l *ledger) load(sources map[string]SourceUsage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for source, u := range sources {
		bytes := u.Bytes + u.Records*RecordOverhead
		l.bytes += bytes
		l.records += u.Records
		l.sources[source] += bytes
	}
}

func (l *ledger) enter(key []byte, recs []Record, sign int64) {
	for i := range recs {
		l.enterOne(key, &recs[i], sign)
	}
}

func (l *ledger) enterOne(key []byte, r *Record, sign int64) {
	c := sign * Cost(key, r)
	l.bytes += c
	l.records += sign
	if l.sources[r.Source] += c; l.sources[r.Source] == 0 {
		delete(l.sources, r.Source)
	}
}

// used returns the bytes and the number of all records.
func (l *ledger) used() (bytes, records int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes, l.records
}
