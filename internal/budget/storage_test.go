package budget_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/budget"
)

func newStorage(t testing.TB, source, group, total int64) *budget.Storage {
	s, err := budget.NewStorage(budget.StorageLimits{Source: source, Group: group, Total: total})
	require.NoError(t, err)
	return s
}

func TestStorage(t *testing.T) {
	own := budget.Source{}
	type put struct {
		slot  string // what is there is replaced
		who   budget.Source
		bytes int64
		want  error
	}
	tests := map[string]struct {
		puts  []put
		bytes int64
	}{
		"to the last byte of the source": {[]put{{"a", alice, 1000, nil}}, 1000},
		"one more":                       {[]put{{"a", alice, 1001, budget.ErrSourceBudget}}, 0},
		"sources do not share": {[]put{
			{"a", alice, 1000, nil}, {"b", alice, 300, budget.ErrSourceBudget}, {"c", carol, 300, nil},
		}, 1300},
		"the group is full": {[]put{
			{"a", alice, 1000, nil}, {"b", bob, 501, budget.ErrGroupBudget}, {"b", bob, 500, nil},
			{"c", bob, 1, budget.ErrGroupBudget}, {"c", carol, 1000, nil}, {"a", alice, 999, nil}, {"d", bob, 1, nil},
		}, 2500},
		"a source's own limit is named first": {[]put{
			{"a", alice, 1000, nil}, {"b", bob, 500, nil}, {"c", alice, 1, budget.ErrSourceBudget},
		}, 1500},
		"no group": {[]put{{"a", local, 1000, nil}, {"b", local, 1, budget.ErrSourceBudget}, {"c", alice, 1000, nil}}, 2000},
		"replacing costs the difference": {[]put{
			{"a", alice, 900, nil}, {"a", alice, 1000, nil}, {"a", alice, 300, nil},
			{"b", alice, 700, nil}, {"a", alice, 301, budget.ErrSourceBudget},
		}, 1000},
		"the new source pays": {[]put{
			{"a", alice, 1000, nil}, {"a", carol, 1000, nil}, {"b", alice, 1000, nil},
			{"c", carol, 300, budget.ErrSourceBudget},
		}, 2000},
		"the new source of the same group pays no more": {[]put{
			{"a", alice, 1000, nil}, {"b", bob, 500, nil}, {"a", bob, 500, nil}, {"c", alice, 500, nil},
		}, 1500},
		"all is full": {[]put{
			{"a", alice, 1000, nil}, {"b", carol, 1000, nil}, {"c", local, 900, nil},
			{"d", bob, 300, budget.ErrStoreFull}, {"c", bob, 500, nil}, {"d", local, 700, budget.ErrStoreFull},
		}, 2500},
		"this node has no limit": {[]put{
			{"a", own, 2500, nil}, {"b", alice, 1000, budget.ErrStoreFull}, {"c", own, 2500, nil},
		}, 5000},
		"over the limit what does not grow is welcome": {[]put{
			{"a", alice, 1000, nil}, {"b", own, 2500, nil}, {"a", alice, 1000, nil},
			{"a", carol, 1000, nil}, {"a", carol, 999, nil}, {"a", carol, 1000, budget.ErrStoreFull},
		}, 3499},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStorage(t, 1000, 1500, 3000)
			m := model{}
			for i, p := range tt.puts {
				removed := m.at(p.slot)
				added := budget.Entry{Source: p.who, Bytes: p.bytes}
				err := s.Charge(removed, added)
				require.ErrorIs(t, err, p.want, "put %d", i)
				if err == nil {
					m[p.slot] = added
				} else {
					require.ErrorContains(t, err, p.who.Name)
				}
				m.require(t, s)
			}
			require.Equal(t, tt.bytes, s.Usage().Bytes)
			for slot := range m {
				s.Post(m.at(slot), nil)
			}
			require.Equal(t, budget.StorageTotals{}, s.Usage(), "entries vanish at zero")
		})
	}
}

// What was stored under other limits stays, and may be replaced by as much.
func TestStorageLoadedOverItsLimits(t *testing.T) {
	tests := map[string]struct {
		who                  budget.Source
		source, group, total int64
		want                 error
	}{
		"source": {alice, 400, 5000, 5000, budget.ErrSourceBudget},
		"group":  {bob, 400, 400, 5000, budget.ErrGroupBudget},
		"all":    {bob, 400, 5000, 400, budget.ErrStoreFull},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			old := budget.Entry{Source: tt.who, Bytes: 300}
			s := newStorage(t, tt.source, tt.group, tt.total)
			s.Post(nil, []budget.Entry{{Source: alice, Bytes: 900}, old})
			require.ErrorIs(t, s.Charge(nil, budget.Entry{Source: tt.who, Bytes: 1}), tt.want)
			require.ErrorIs(t, s.Charge([]budget.Entry{old}, budget.Entry{Source: tt.who, Bytes: 301}), tt.want)
			require.NoError(t, s.Charge([]budget.Entry{old}, old))
			require.EqualValues(t, 1200, s.Usage().Bytes)
		})
	}
}

// model is what is stored, by slot.
type model map[string]budget.Entry

func (m model) at(slot string) []budget.Entry {
	if e, ok := m[slot]; ok {
		return []budget.Entry{e}
	}
	return nil
}

func (m model) used(count func(budget.Source) bool) (sum budget.Stored) {
	for _, e := range m {
		if count(e.Source) {
			sum.Bytes += e.Bytes
			sum.Records++
		}
	}
	return sum
}

func (m model) ofSource(who budget.Source) budget.Stored {
	return m.used(func(s budget.Source) bool { return s.Name == who.Name })
}

func (m model) ofGroup(who budget.Source) budget.Stored {
	return m.used(func(s budget.Source) bool { return s.Group != "" && s.Group == who.Group })
}

func (m model) all() budget.Stored { return m.used(func(budget.Source) bool { return true }) }

// require compares the ledger with what is stored.
func (m model) require(t testing.TB, s *budget.Storage) {
	t.Helper()
	names, groups := map[string]bool{}, map[string]bool{}
	for _, e := range m {
		names[e.Source.Name] = true
		if e.Source.Group != "" {
			groups[e.Source.Group] = true
		}
		source, group := s.Used(e.Source)
		require.Equal(t, m.ofSource(e.Source), source, e.Source)
		require.Equal(t, m.ofGroup(e.Source), group, e.Source)
	}
	require.Equal(t, budget.StorageTotals{Stored: m.all(), Sources: len(names), Groups: len(groups)}, s.Usage())
}

// FuzzStorage compares the ledger with a model that adds up all records for each
// answer. Three bytes are one step: what to do, who, and how much.
func FuzzStorage(f *testing.F) {
	f.Add([]byte{0, 0, 100, 1, 1, 100, 2, 2, 50, 0, 3, 100, 4, 4, 255, 16, 0, 0, 32, 0, 90})
	f.Add([]byte(strings.Repeat("\x01\x02\xff\x05\x01\x80\x12\x03\x40\x23\x04\x41", 20)))
	who := []budget.Source{alice, bob, carol, local, {}, {Name: alice.Name, Group: carol.Group}}
	f.Fuzz(func(t *testing.T, steps []byte) {
		const source, group, total = 300, 450, 700
		s := newStorage(t, source, group, total)
		m := model{}
		for ; len(steps) >= 3; steps = steps[3:] {
			// One or two of a few slots give way to what comes.
			slot := fmt.Sprint(steps[0] % 8)
			removed := m.at(slot)
			other := fmt.Sprint(steps[0] / 8 % 8)
			if other != slot {
				removed = append(removed, m.at(other)...)
			}
			added := budget.Entry{Source: who[int(steps[1])%len(who)], Bytes: int64(steps[2])}

			before := model{}
			for k, v := range m {
				before[k] = v
			}
			delete(m, slot)
			delete(m, other)
			switch steps[1] / 64 {
			case 0: // they expire
				s.Post(removed, nil)
			case 1: // loaded, whatever the limits
				m[slot] = added
				s.Post(removed, []budget.Entry{added})
			default:
				m[slot] = added
				var want error
				switch {
				case added.Source.IsOwn():
				case m.ofSource(added.Source).Bytes > max(source, before.ofSource(added.Source).Bytes):
					want = budget.ErrSourceBudget
				case m.ofGroup(added.Source).Bytes > max(group, before.ofGroup(added.Source).Bytes):
					want = budget.ErrGroupBudget
				case m.all().Bytes > max(total, before.all().Bytes):
					want = budget.ErrStoreFull
				}
				err := s.Charge(removed, added)
				require.ErrorIs(t, err, want)
				switch {
				case err != nil:
					m = before
				case steps[1]/64 == 3: // the disk failed
					s.Post([]budget.Entry{added}, removed)
					m = before
				}
			}
			m.require(t, s)
		}
	})
}

func TestStorageFromManyGoroutines(t *testing.T) {
	s := newStorage(t, 1000, 1500, 3000)
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			var held []budget.Entry
			for i := range 500 {
				e := budget.Entry{
					Source: budget.Source{Name: fmt.Sprint(worker % 8), Group: fmt.Sprint(worker % 3)},
					Bytes:  int64(i % 200),
				}
				if s.Charge(held, e) == nil {
					held = []budget.Entry{e}
				}
				if all := s.Usage(); all.Bytes > 3000 {
					t.Errorf("over the limit: %+v", all)
				}
			}
			s.Post(held, nil)
		})
	}
	wg.Wait()
	require.Equal(t, budget.StorageTotals{}, s.Usage())
}

// One record each from as many sources and groups as can be is the worst case
// of the ledger's own memory, and it is given back.
func TestStorageOverhead(t *testing.T) {
	s := newStorage(t, 1000, 1000, 1<<40)
	// just after its map has grown it has most room to spare
	for _, n := range []int{60_000, 100_000, 130_000} {
		key := make([]byte, 36)
		copy(key, "\x00\x24\x08\x01\x12\x20")
		entries := make([]budget.Entry, n)
		var peak uint64
		kept := heap(func() {
			peak = heap(func() {
				for i := range entries {
					copy(key[6:], fmt.Sprintf("%08d", i))
					entries[i] = budget.Entry{Source: budget.SourceOfPeer(peer.ID(key), address(i, 48)), Bytes: 1}
					require.NoError(t, s.Charge(nil, entries[i]))
				}
			})
			require.Equal(t, n, s.Usage().Groups)
			s.Post(entries, nil)
			clear(entries)
		})
		t.Logf("%d bytes a source, %d kept in all", peak/uint64(n), kept)
		require.Less(t, peak, uint64(n*budget.LedgerOverhead))
		require.Less(t, kept, uint64(64<<10))
	}
}

// What was stored before the ledger began counts, be it over the limits.
func TestStorageLoad(t *testing.T) {
	s := newStorage(t, 1000, 1500, 3000)
	s.Load(alice, budget.Stored{Bytes: 2000, Records: 3})
	s.Load(budget.Source{}, budget.Stored{Bytes: 500, Records: 1})
	source, group := s.Used(alice)
	require.Equal(t, budget.Stored{Bytes: 2000, Records: 3}, source)
	require.Equal(t, source, group)
	require.Equal(t, budget.StorageTotals{Stored: budget.Stored{Bytes: 2500, Records: 4}, Sources: 2, Groups: 1}, s.Usage())

	require.ErrorIs(t, s.Charge(nil, budget.Entry{Source: alice, Bytes: 1}), budget.ErrSourceBudget)
	require.ErrorIs(t, s.Charge(nil, budget.Entry{Source: bob, Bytes: 1}), budget.ErrGroupBudget)
	require.NoError(t, s.Charge([]budget.Entry{{Source: alice, Bytes: 700}}, budget.Entry{Source: alice, Bytes: 700}), "no more than before")
}
