package pebble

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// load reads all that is stored into memory, and sets the clock.
func (s *Store) load() (err error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := it.Close(); err == nil {
			err = closeErr
		}
	}()
	l := loading{into: s.memory, names: decoder{names: make(map[string]string)}}
	s.clock = newClock(s.cfg.step, nil)
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := s.loadEntry(&l, it.Key(), value); err != nil {
			return corrupt(s.dir, err)
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	l.end()
	return nil
}

func (s *Store) loadEntry(l *loading, key, value []byte) error {
	switch key[0] {
	case metaPrefix:
		if !bytes.Equal(key, clockKey) {
			return nil
		}
		last, ok := readingOf(value)
		if !ok {
			return fmt.Errorf("a clock of %d bytes", len(value))
		}
		s.clock = newClock(s.cfg.step, &last)
	case statePrefix:
		s.state.set(string(key[1:]), append([]byte{}, value...))
	case recordPrefix:
		of, place, ok := parseRecordKey(key)
		if !ok {
			return fmt.Errorf("a key of %d bytes that this program has not written", len(key))
		}
		r, err := l.names.record(value, s.clock.fromStore)
		if err != nil {
			return fmt.Errorf("under the key %x: %w", of, err)
		}
		r.Place = place
		l.add(of, r)
	}
	return nil
}

// loading gathers the records of a key, whose entries follow each other.
type loading struct {
	into  records.Store
	names decoder
	key   []byte
	recs  []records.Record
}

func (l *loading) add(key []byte, r records.Record) {
	if len(l.recs) > 0 && !bytes.Equal(key, l.key) {
		l.end()
	}
	l.key = append(l.key[:0], key...)
	l.recs = append(l.recs, r)
}

// end has the memory keep the records of a key.
func (l *loading) end() {
	if len(l.recs) > 0 {
		recs := append(make([]records.Record, 0, len(l.recs)), l.recs...)
		keep(l.into, l.key, recs)
	}
	clear(l.recs)
	l.recs = l.recs[:0]
}

// keep makes a list that of a key in memory, which does not fail.
func keep(memory records.Store, key []byte, list []records.Record) {
	memory.Update(context.Background(), key, records.Soon, func([]records.Record) []records.Record { return list }, func(error) {})
}

// restore writes what the memory holds of some keys, whatever the disk has of them.
func (s *Store) restore(b *pebble.Batch, keys, stateKeys map[string]struct{}) error {
	var buf []byte
	for key := range keys {
		buf = appendKey(buf[:0], []byte(key))
		if err := b.DeleteRange(buf, after(buf), nil); err != nil {
			return err
		}
		recs, err := s.memory.Get(context.Background(), []byte(key))
		if err != nil {
			return err
		}
		for i := range recs {
			if buf, err = s.set(b, buf, []byte(key), &recs[i]); err != nil {
				return err
			}
		}
	}
	for key := range stateKeys {
		value, there := s.state.get(key)
		if err := setState(b, []byte(key), value, there); err != nil {
			return err
		}
	}
	return nil
}

// after returns the first key that does not begin with prefix.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; ; i-- { // a prefix begins with a letter, so this ends
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}

// set writes the entry of one record. buf is written to and returned, to be used again.
func (s *Store) set(b *pebble.Batch, buf, key []byte, r *records.Record) ([]byte, error) {
	buf = appendRecordKey(buf[:0], key, r.Place)
	n := len(buf)
	buf = appendRecord(buf, r, s.clock.toStore(r.Expires))
	return buf, b.Set(buf[:n], buf[n:], nil)
}

func setState(b *pebble.Batch, key, value []byte, there bool) error {
	entry := append([]byte{statePrefix}, key...)
	if !there {
		return b.Delete(entry, nil)
	}
	return b.Set(entry, value, nil)
}
