package records

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// model is the rules once more, written for plainness: it recomputes all costs
// each time. Times are in seconds.
type model struct {
	now                                   int
	perGroup, perSource                   int // bytes
	providersPerSource, providersPerGroup int
	lists                                 map[string][]modelRecord
}

type modelRecord struct {
	value, id    string
	source       Source
	named, owned bool
	expires      int
}

func (m *model) live(key string) (recs []modelRecord) {
	for _, r := range m.lists[key] {
		if r.expires > m.now {
			recs = append(recs, r)
		}
	}
	return recs
}

func (m *model) keep(key string, recs []modelRecord) {
	if m.lists[key] = recs; len(recs) == 0 {
		delete(m.lists, key)
	}
}

func (m *model) cost(source Source) (group, own int) {
	for key, recs := range m.lists {
		for _, r := range recs {
			c := len(key) + len(r.value) + RecordOverhead
			if r.source.Name == source.Name {
				own += c
			}
			if r.source.Group != "" && r.source.Group == source.Group {
				group += c
			}
		}
	}
	return group, own
}

func (m *model) store(p Put) error {
	key, from := string(p.Key), string(p.From)
	ttl, left := int(p.TTL/time.Second), int(p.ExpiresIn/time.Second)
	if ttl == 0 {
		ttl = 86400
	}
	if left > 0 && left < ttl {
		ttl = left
	}
	r := modelRecord{
		value: string(p.Value), id: string(p.NodeID), named: p.NodeID != nil, source: p.Source,
		expires: m.now + ttl,
	}
	r.owned = r.named && p.From != nil && r.id == from

	recs := m.live(key)
	m.keep(key, recs)
	next := slices.Clone(recs)
	at := slices.IndexFunc(recs, func(o modelRecord) bool {
		return r.named == o.named && r.id == o.id && (r.named || r.value == o.value)
	})
	if at >= 0 {
		old := recs[at]
		if old.owned && from != old.id {
			if old.value == r.value {
				return nil
			}
			return ErrNotOwner
		}
		if left > 0 && r.expires <= old.expires {
			return nil
		}
		if old.owned != r.owned || payerOf(old.source) != payerOf(r.source) { // as a new one
			others := append([]modelRecord{r}, slices.Delete(slices.Clone(recs), at, at+1)...)
			if i := m.tooMany(others, len(recs)-1); i == 0 {
				return ErrKeyFull
			} else if i > 0 {
				next, at = slices.Delete(others, i, i+1), 0
			}
		}
		next[at] = r
	} else {
		next = append([]modelRecord{r}, next...)
		if i := m.tooMany(next, len(recs)); i == 0 {
			return ErrKeyFull
		} else if i > 0 {
			next = slices.Delete(next, i, i+1)
		}
	}

	group, own := m.cost(r.source)
	m.keep(key, next)
	groupThen, ownThen := m.cost(r.source)
	switch {
	case r.source == (Source{}):
		return nil
	case ownThen > m.perSource && ownThen > own:
		m.keep(key, recs)
		return ErrSourceBudget
	case groupThen > m.perGroup && groupThen > group:
		m.keep(key, recs)
		return ErrGroupBudget
	}
	return nil
}

// tooMany returns which record of a key has to go for the first, -1 for none.
func (m *model) tooMany(next []modelRecord, before int) int {
	if len(next) == before {
		return -1
	}
	go1 := func(may func(modelRecord) bool) int {
		least := -1
		rank := func(r modelRecord) int {
			if r.owned {
				return r.expires + 1<<40
			}
			return r.expires
		}
		for i, r := range next {
			if may(r) && (least < 0 || rank(r) <= rank(next[least])) {
				least = i
			}
		}
		return least
	}
	number := func(may func(modelRecord) bool) (n int) {
		for _, r := range next {
			if may(r) {
				n++
			}
		}
		return n
	}
	r := next[0]
	ofSource := func(o modelRecord) bool { return !o.owned && o.source.Name == r.source.Name }
	ofGroup := func(o modelRecord) bool { return o.source.Group == r.source.Group }
	switch {
	case r.source.Name != "" && !r.owned && number(ofSource) > m.providersPerSource:
		return go1(ofSource)
	case r.source.Group != "" && number(ofGroup) > m.providersPerGroup:
		return go1(ofGroup)
	case len(next) <= MaxProviders:
		return -1
	}
	may := func(o modelRecord) bool { return r.owned || !o.owned }
	payer := func(o modelRecord) string {
		if o.source.Group != "" {
			return o.source.Group
		}
		return o.source.Name
	}
	by := map[string]int{}
	for _, o := range next {
		if may(o) {
			by[payer(o)]++
		}
	}
	most := ""
	for _, o := range slices.Backward(next) { // of equals who has the oldest
		if may(o) && by[payer(o)] > by[most] {
			most = payer(o)
		}
	}
	return go1(func(o modelRecord) bool { return may(o) && payer(o) == most })
}

func (m *model) sweep() {
	for key := range m.lists {
		m.keep(key, m.live(key))
	}
}

// Random puts, pauses and sweeps: after each, the manager and the model hold the
// same, and the ledger is exact.
func TestManagerAgainstModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runModel(t, seed) })
		})
	}
}

func runModel(t *testing.T, seed uint64) {
	rng := newRand(seed)
	// The store is never full: TestGiveWay has what happens then.
	limits := Limits{Bytes: 1 << 30, BytesPerGroup: 8_000, BytesPerSource: 5_000, ProvidersPerSource: 2, ProvidersPerGroup: 3}
	if seed == 0 { // one key is near MaxProviders; its records are our own, and the limits far
		limits = Limits{Bytes: 1 << 30, BytesPerGroup: 2 << 20, BytesPerSource: 1 << 20}.orDefault()
	}
	// The manager's own sweeper stays out: the model has to know when it comes.
	s, err := New(WithLimits(limits), WithSweepInterval(1000*time.Hour))
	require.NoError(t, err)
	defer s.Close()
	m := &model{
		perGroup: int(limits.BytesPerGroup), perSource: int(limits.BytesPerSource),
		providersPerSource: limits.ProvidersPerSource, providersPerGroup: limits.ProvidersPerGroup,
		lists: map[string][]modelRecord{},
	}
	if seed == 0 {
		for i := range MaxProviders - 2 {
			id := fmt.Append(nil, "filler ", i)
			p := Put{Key: []byte("key 0"), NodeID: id, From: id[:len(id)*(i%2)], Value: []byte("v"), TTL: 500 * time.Second}
			require.NoError(t, s.Store(t.Context(), p))
			require.NoError(t, m.store(p))
		}
	}
	peers := [][]byte{nil, alice, bob, nodeID("carol")}
	sources := []Source{{}, {Name: "s"}, {Name: "t", Group: "g"}, {Name: "u", Group: "g"}, {Name: "u", Group: "h"}, {Name: "v", Group: "h"}}
	outcomes := map[error]int{}
	for range 3000 >> (seed / 3) {
		switch rng.IntN(12) {
		case 0:
			pause := rng.IntN(20)
			time.Sleep(time.Duration(pause) * time.Second)
			m.now += pause
		case 1:
			s.sweep(t.Context())
			m.sweep()
		default:
			p := Put{
				Key:    fmt.Append(nil, "key ", rng.IntN(5)),
				Value:  []byte(strings.Repeat(string(rune('a'+rng.IntN(3))), 1+rng.IntN(3)*300)),
				TTL:    time.Duration(rng.IntN(60)) * time.Second,
				From:   peers[rng.IntN(len(peers))],
				Source: sources[rng.IntN(len(sources))],
			}
			switch rng.IntN(5) {
			case 0: // without node id
			case 1:
				p.NodeID = []byte{}
			case 2:
				p.NodeID = fmt.Append(nil, "node ", rng.IntN(5))
			default:
				p.NodeID = append([]byte{}, peers[rng.IntN(len(peers))]...)
			}
			if rng.IntN(3) == 0 {
				p.ExpiresIn = time.Duration(1+rng.IntN(60)) * time.Second
			}
			if p.Source == (Source{}) && p.TTL == 0 {
				p.TTL = time.Second // else our own fill the store for a day
			}
			want := m.store(p)
			require.ErrorIs(t, s.Store(t.Context(), p), want)
			outcomes[want]++
		}
		requireSame(t, m, s)
	}
	require.Positive(t, outcomes[ErrNotOwner])
	require.Positive(t, s.Stats().Evicted)
	require.Positive(t, outcomes[ErrKeyFull])
	if seed > 0 {
		require.Positive(t, outcomes[ErrSourceBudget])
		require.Positive(t, outcomes[ErrGroupBudget])
	}
}

func requireSame(t *testing.T, m *model, s *Manager) {
	t.Helper()
	requireLedgerExact(t, s)
	keys := 0
	eachKey(t, s.store, func(key []byte, recs []Record) {
		keys++
		want := m.lists[string(key)]
		require.Len(t, recs, len(want))
		for i, r := range recs {
			left := int(time.Until(r.Expires) / time.Second)
			got := modelRecord{string(r.Value), string(r.NodeID), r.Source, r.NodeID != nil, r.Owned, m.now + left}
			if want[i] != got {
				require.Equal(t, want[i], got, "record %d of %s", i, key)
			}
		}
	})
	require.Equal(t, len(m.lists), keys)
}
