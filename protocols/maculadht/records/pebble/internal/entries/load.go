package entries

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// Content is what takes what a database holds.
type Content interface {
	// KeepList takes the records of a key, which is not kept.
	KeepList(key []byte, recs []records.Record)
	// KeepState takes a value of the state.
	KeepState(key string, value []byte)
}

// Load reads all that a database holds, and returns the clock that goes on where it was
// last read; step is by which the wall clock has been set ahead.
func Load(db pebble.Reader, step func() time.Duration, into Content) (c Clock, err error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return c, err
	}
	defer func() {
		if closeErr := it.Close(); err == nil {
			err = closeErr
		}
	}()
	l := loading{into: into, names: decoder{names: make(map[string]string)}, clock: NewClock(step, nil), step: step}
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return c, err
		}
		if err := l.entry(it.Key(), value); err != nil {
			return c, err
		}
	}
	if err := it.Error(); err != nil {
		return c, err
	}
	l.end()
	return l.clock, nil
}

// LastReading returns how the clock was last read; there is none where nothing was ever
// written.
func LastReading(db pebble.Reader) (r Reading, there bool, err error) {
	value, closer, err := db.Get(clockKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return r, false, nil
	} else if err != nil {
		return r, false, err
	}
	r, there = readingOf(value)
	return r, there, closer.Close()
}

// loading gathers the records of a key, whose entries follow each other.
type loading struct {
	into  Content
	step  func() time.Duration
	clock Clock // whose entry comes before all others
	names decoder
	key   []byte
	recs  []records.Record
}

func (l *loading) entry(key, value []byte) error {
	switch key[0] {
	case metaPrefix:
		if !bytes.Equal(key, clockKey) {
			return nil
		}
		last, ok := readingOf(value)
		if !ok {
			return fmt.Errorf("a clock that this program has not written, of %d bytes", len(value))
		}
		l.clock = NewClock(l.step, &last)
	case statePrefix:
		l.into.KeepState(string(key[1:]), append([]byte{}, value...))
	case recordPrefix:
		of, place, ok := parseRecordKey(key)
		if !ok {
			return fmt.Errorf("a key of %d bytes that this program has not written", len(key))
		}
		r, err := l.names.record(value, l.clock.FromStore)
		if err != nil {
			return fmt.Errorf("under the key %x: %w", of, err)
		}
		r.Place = place
		l.add(of, r)
	}
	return nil
}

func (l *loading) add(key []byte, r records.Record) {
	if len(l.recs) > 0 && !bytes.Equal(key, l.key) {
		l.end()
	}
	l.key = append(l.key[:0], key...)
	l.recs = append(l.recs, r)
}

// end hands over the records of a key.
func (l *loading) end() {
	if len(l.recs) > 0 {
		l.into.KeepList(l.key, append(make([]records.Record, 0, len(l.recs)), l.recs...))
	}
	clear(l.recs)
	l.recs = l.recs[:0]
}
