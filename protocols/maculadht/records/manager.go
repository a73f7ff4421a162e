package routing

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotFound means that nothing live is stored under a key.
var ErrNotFound = errors.New("not found")

// Store keeps a value, by these rules:
//
//   - A value with the node id of one that is there replaces it in place; so
//     does, without a node id, the very same value. Others go in front.
//   - A value that carries its sender's node id is owned: until it expires,
//     only that peer replaces it. Anybody else gets [ErrNotOwner], or nil for
//     the very same value, which changes nothing.
//   - A copy never outlives its original, and one with no more life left than
//     the record it would replace changes nothing and returns nil.
//   - A key holds [MaxProviders]; over that the soonest to expire goes, be it
//     the new one, and Store returns nil all the same.
//   - A value that would take its source or the store over the budget is
//     refused with [ErrSourceBudget] or [ErrStoreFull].
//
// A value without life is refused with [ErrExpired]. Errors of the record store
// are wrapped.
func (s *Server) Store(p Put) error {
	now := time.Now()
	rec, err := p.record(now)
	if err != nil {
		return err
	}
	isCopy := p.isCopy()
	return s.update(p.Key, now, func(live []Record) (edit, error) {
		return place(live, &rec, isCopy)
	})
}

// Values returns the live records of key, in order, or [ErrNotFound]; never an
// empty list. The list is shared: do not modify it.
func (s *Server) Values(key []byte) ([]Record, error) {
	recs, err := s.records.Get(key)
	if err != nil {
		return nil, fmt.Errorf("get records: %w", err)
	}
	if len(recs) == 0 {
		return nil, ErrNotFound
	}
	live, _ := split(recs, time.Now())
	if len(live) == 0 {
		return nil, ErrNotFound
	}
	return live, nil
}

// RecordsWithPrefix calls visit with each key that begins with prefix and its
// live records, at least one, in no particular order, until visit returns
// false. key is valid only during the call; recs are as from Values. It is
// cheap for [wire.GatewayPrefix], and walks all keys otherwise. visit may call the
// server.
func (s *Server) RecordsWithPrefix(prefix []byte, visit func(key []byte, recs []Record) bool) error {
	now := time.Now()
	err := s.records.Range(prefix, func(key []byte, recs []Record) bool {
		live, _ := split(recs, now)
		return len(live) == 0 || visit(key, live)
	})
	if err != nil {
		return fmt.Errorf("range over records: %w", err)
	}
	return nil
}

// update drops what has expired under key, lets plan change the rest, and keeps
// ledger, gauges and counters equal to what the store then holds. It returns
// plan's error, that of the budget, or that of the store.
func (s *Server) update(key []byte, now time.Time, plan func(live []Record) (edit, error)) error {
	var (
		expired []Record
		done    edit
		refused error
		keys    int64
	)
	err := s.records.Update(key, func(old []Record) []Record {
		var live []Record
		live, expired = split(old, now)
		_ = s.ledger.post(key, expired, nil) // refuses only what is added

		done, refused = plan(live)
		if refused == nil {
			refused = s.ledger.post(key, done.removed, done.added)
		}
		if refused != nil {
			done = edit{next: live}
		}
		keys = present(done.next) - present(old)
		return done.next
	})
	if err != nil {
		s.ledger.undo(key, done.removed, done.added)
		s.ledger.undo(key, expired, nil)
		return fmt.Errorf("update records: %w", err)
	}
	s.keys.Add(keys)
	s.counters.count(&done, len(expired), refused)
	return refused
}

// present returns 1 for a key with records and 0 for one without.
func present(recs []Record) int64 {
	return int64(min(len(recs), 1))
}

// sweep drops every expired record. What fails is left for the next sweep.
func (s *Server) sweep(ctx context.Context) {
	now := time.Now()
	keep := func(live []Record) (edit, error) { return edit{next: live}, nil }
	err := s.records.Range(nil, func(key []byte, recs []Record) bool {
		if _, expired := split(recs, now); len(expired) > 0 {
			if err := s.update(key, now, keep); err != nil {
				s.counters.sweepFailures.Add(1)
			}
		}
		return ctx.Err() == nil
	})
	if err != nil {
		s.counters.sweepFailures.Add(1)
	}
}
