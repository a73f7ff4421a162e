package pebble

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble/internal/entries"
)

// load reads all that is stored into memory, and sets the clock.
func (s *Store) load() (err error) {
	s.clock, err = entries.Load(s.db, s.cfg.step, loaded{s})
	return err
}

// loaded is a store that is being loaded.
type loaded struct{ *Store }

func (l loaded) KeepList(key []byte, recs []records.Record) { keep(l.memory, key, recs) }
func (l loaded) KeepState(key string, value []byte)         { l.state.set(key, value) }

// keep makes a list that of a key in memory, which does not fail.
func keep(memory records.Store, key []byte, list []records.Record) {
	memory.Update(context.Background(), key, records.Soon, func([]records.Record) []records.Record { return list }, func(error) {})
}

// restore writes what the memory holds of some keys, whatever the disk has of them.
func (s *Store) restore(b *pebble.Batch, keys, stateKeys map[string]struct{}) (err error) {
	var buf []byte
	for key := range keys {
		if buf, err = entries.RemoveAll(b, buf, []byte(key)); err != nil {
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
		if err := entries.SetState(b, []byte(key), value, there); err != nil {
			return err
		}
	}
	return nil
}

// set writes the entry of one record. buf is written to and returned, to be used again.
func (s *Store) set(b *pebble.Batch, buf, key []byte, r *records.Record) ([]byte, error) {
	return entries.Set(b, buf, key, r, s.clock.ToStore(r.Expires))
}
