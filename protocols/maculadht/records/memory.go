package routing

import (
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/macula-mesh/macula-node/compat/wire"
)

const memoryShards = 64

// memoryStore is a RecordStore in memory. Lists are replaced, never written to,
// so a reader holds a snapshot without copying it.
type memoryStore struct {
	seed   maphash.Seed
	shards [memoryShards]memoryShard
}

type memoryShard struct {
	mu       sync.RWMutex
	gateways map[string][]Record // keys that begin with wire.GatewayPrefix: any peer may ask for them all
	others   map[string][]Record // all other keys
}

// NewMemoryStore returns an empty store that lives in memory. Its methods never
// fail.
func NewMemoryStore() RecordStore {
	m := &memoryStore{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].gateways = make(map[string][]Record)
		m.shards[i].others = make(map[string][]Record)
	}
	return m
}

func (m *memoryStore) shard(key []byte) *memoryShard {
	return &m.shards[maphash.Bytes(m.seed, key)%memoryShards]
}

// lists returns the map that key belongs in.
func (s *memoryShard) lists(key []byte) map[string][]Record {
	if len(key) >= len(wire.GatewayPrefix) && string(key[:len(wire.GatewayPrefix)]) == wire.GatewayPrefix {
		return s.gateways
	}
	return s.others
}

func (m *memoryStore) Get(key []byte) ([]Record, error) {
	s := m.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lists(key)[string(key)], nil
}

func (m *memoryStore) Update(key []byte, change func(old []Record) []Record) error {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	lists := s.lists(key)
	if recs := change(lists[string(key)]); len(recs) > 0 {
		lists[string(key)] = recs
	} else {
		delete(lists, string(key))
	}
	return nil
}

// Range begins at a random shard, so that a visitor that stops early sees other
// keys each time.
func (m *memoryStore) Range(prefix []byte, visit func(key []byte, recs []Record) bool) error {
	var key []byte
	for i, start := 0, rand.IntN(memoryShards); i < memoryShards; i++ {
		for _, e := range m.shards[(start+i)%memoryShards].snapshot(string(prefix)) {
			key = append(key[:0], e.key...)
			if !visit(key, e.recs) {
				return nil
			}
		}
	}
	return nil
}

type memoryEntry struct {
	key  string
	recs []Record
}

// snapshot copies the shard's entries, so that they are visited without a lock.
func (s *memoryShard) snapshot(prefix string) []memoryEntry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var entries []memoryEntry
	take := func(lists map[string][]Record) {
		for key, recs := range lists {
			if strings.HasPrefix(key, prefix) {
				entries = append(entries, memoryEntry{key, recs})
			}
		}
	}
	take(s.gateways)
	if !strings.HasPrefix(prefix, wire.GatewayPrefix) {
		take(s.others)
	}
	return entries
}

func (m *memoryStore) Close() error { return nil }
