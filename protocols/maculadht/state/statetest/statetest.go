// Package statetest has what tests of a state need: one in memory that fails and
// restarts as a test says, and what every state must do.
package statetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
)

// The operations of a state, as [Memory.FailWith] names them.
const (
	Entries = "Entries"
	Put     = "Put"
	Delete  = "Delete"
)

// Memory is a state in memory. The zero Memory is empty.
type Memory struct {
	mu      sync.Mutex
	entries map[string][]byte
	fail    func(op string, key []byte) error
	writes  int
}

var _ state.State = (*Memory)(nil)

// FailWith has each operation fail with what fail returns, before it does anything;
// nil for none. Entries has no key.
func (m *Memory) FailWith(fail func(op string, key []byte) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
}

// Copy returns the state as a restart at this moment would find it, which does not
// fail.
func (m *Memory) Copy() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{entries: maps.Clone(m.entries)}
}

// Keys returns the keys that are there, in order.
func (m *Memory) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.entries))
}

// Writes returns how often something was put or deleted.
func (m *Memory) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

func (m *Memory) begin(ctx context.Context, op string, key []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.fail != nil {
		return m.fail(op, key)
	}
	return nil
}

// Entries implements state.State.
func (m *Memory) Entries(ctx context.Context, visit func(key, value []byte) bool) error {
	m.mu.Lock()
	err := m.begin(ctx, Entries, nil)
	entries := maps.Clone(m.entries)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		k, v := []byte(key), bytes.Clone(entries[key])
		goesOn := visit(k, v)
		for _, given := range [][]byte{k, v} { // whoever keeps it without a copy finds out
			for i := range given {
				given[i] = 0xC1
			}
		}
		if !goesOn {
			return nil
		}
	}
	return nil
}

// Put implements state.State.
func (m *Memory) Put(ctx context.Context, key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(key) > state.MaxKey || len(value) > state.MaxValue {
		return fmt.Errorf("key of %d bytes and value of %d, want at most %d and %d", len(key), len(value), state.MaxKey, state.MaxValue)
	}
	if err := m.begin(ctx, Put, key); err != nil {
		return err
	}
	if m.entries == nil {
		m.entries = make(map[string][]byte)
	}
	m.entries[string(key)] = bytes.Clone(value)
	m.writes++
	return nil
}

// Delete implements state.State.
func (m *Memory) Delete(ctx context.Context, key []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx, Delete, key); err != nil {
		return err
	}
	delete(m.entries, string(key))
	m.writes++
	return nil
}

// Run has a state do all that package state wants of one. reopen closes and opens the
// one that it was given; open opens an empty one.
func Run(t *testing.T, open func(*testing.T) state.State, reopen func(*testing.T, state.State) state.State) {
	entries := func(t *testing.T, s state.State) map[string]string {
		t.Helper()
		all := make(map[string]string)
		require.NoError(t, s.Entries(t.Context(), func(key, value []byte) bool {
			all[string(key)] = string(value)
			return true
		}))
		return all
	}
	t.Run("keeps the last value of a key over a restart", func(t *testing.T) {
		s := open(t)
		require.Empty(t, entries(t, s))
		for _, kv := range [][2]string{{"a", "1"}, {"b", "2"}, {"a\x00", "3"}, {"a", "4"}, {"", "5"}, {"e", ""}} {
			require.NoError(t, s.Put(t.Context(), []byte(kv[0]), []byte(kv[1])))
		}
		want := map[string]string{"a": "4", "b": "2", "a\x00": "3", "": "5", "e": ""}
		require.Equal(t, want, entries(t, s))
		require.Equal(t, want, entries(t, reopen(t, s)))
	})
	t.Run("does not bring back what was deleted", func(t *testing.T) {
		s := open(t)
		require.NoError(t, s.Put(t.Context(), []byte("a"), []byte("1")))
		require.NoError(t, s.Put(t.Context(), []byte("b"), []byte("2")))
		require.NoError(t, s.Delete(t.Context(), []byte("a")))
		require.NoError(t, s.Delete(t.Context(), []byte("c")), "it is not there")
		want := map[string]string{"b": "2"}
		require.Equal(t, want, entries(t, s))
		require.Equal(t, want, entries(t, reopen(t, s)))
	})
	t.Run("keeps copies", func(t *testing.T) {
		s := open(t)
		key, value := []byte("key"), []byte("value")
		require.NoError(t, s.Put(t.Context(), key, value))
		key[0], value[0] = 'x', 'x'
		require.Equal(t, map[string]string{"key": "value"}, entries(t, s))
	})
	t.Run("takes the largest entries", func(t *testing.T) {
		s := open(t)
		key, value := bytes.Repeat([]byte{0xFF}, state.MaxKey), bytes.Repeat([]byte{1}, state.MaxValue)
		require.NoError(t, s.Put(t.Context(), key, value))
		require.Equal(t, map[string]string{string(key): string(value)}, entries(t, reopen(t, s)))
	})
	t.Run("stops when it is told to", func(t *testing.T) {
		s := open(t)
		for _, key := range []string{"a", "b", "c"} {
			require.NoError(t, s.Put(t.Context(), []byte(key), nil))
		}
		n := 0
		require.NoError(t, s.Entries(t.Context(), func(_, _ []byte) bool { n++; return n < 2 }))
		require.Equal(t, 2, n)
	})
	t.Run("is used by many at once", func(t *testing.T) {
		s := open(t)
		var writes sync.WaitGroup
		for i := range 32 {
			writes.Go(func() {
				key := []byte{byte(i)}
				if err := s.Put(t.Context(), key, key); err != nil {
					t.Error(err)
				}
				if i%2 == 1 {
					if err := s.Delete(t.Context(), key); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writes.Wait()
		require.Len(t, entries(t, reopen(t, s)), 16)
	})
	t.Run("ends with its context", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Put(ctx, []byte("a"), nil), context.Canceled)
		require.ErrorIs(t, s.Delete(ctx, []byte("a")), context.Canceled)
		require.ErrorIs(t, s.Entries(ctx, func(_, _ []byte) bool { return true }), context.Canceled)
	})
}
