package pebble

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// State is a part of the store in which others keep what they need after a restart:
// values by keys, with no rules and no end. It is in memory too, so it is for little.
type State struct{ store *Store }

// State returns that part of the store.
func (s *Store) State() *State { return &State{s} }

// state is what State holds.
type state struct {
	mu     sync.RWMutex
	values map[string][]byte // replaced, never written to
}

func (s *state) get(key string) (value []byte, there bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, there = s.values[key]
	return value, there
}

func (s *state) keys() map[string]struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	keys := make(map[string]struct{}, len(s.values))
	for key := range s.values {
		keys[key] = struct{}{}
	}
	return keys
}

func (s *state) set(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == nil {
		delete(s.values, key)
		return
	}
	s.values[key] = value
}

// Entries calls visit with each key and value, in the order of the keys, until it
// returns false. They are visit's to keep. Entries fails only where ctx has ended.
func (s *State) Entries(ctx context.Context, visit func(key, value []byte) bool) error {
	s.store.state.mu.RLock()
	all := maps.Clone(s.store.state.values)
	s.store.state.mu.RUnlock()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !visit([]byte(key), bytes.Clone(all[key])) {
			return nil
		}
	}
	return ctx.Err()
}

// Put keeps a value under a key, in place of what was there. When it returns nil the
// value survives the end of the machine's power. Where ctx ends while it waits for the
// disk, the value may be kept all the same.
func (s *State) Put(ctx context.Context, key, value []byte) error {
	return s.update(ctx, key, append([]byte{}, value...))
}

// Delete takes a key away, be it there or not. When it returns nil that survives the end
// of the machine's power. Where ctx ends while it waits for the disk, the key may be
// gone all the same.
func (s *State) Delete(ctx context.Context, key []byte) error {
	return s.update(ctx, key, nil)
}

func (s *State) update(ctx context.Context, key, value []byte) error {
	done := make(chan error, 1)
	s.store.enqueue(ctx, update{key: bytes.Clone(key), d: records.Synced, value: value, done: func(err error) { done <- err }})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	default:
		return fmt.Errorf("wait for the disk: %w", ctx.Err())
	}
}
