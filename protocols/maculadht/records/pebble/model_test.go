package pebble

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

var runs = flag.Int("runs", 100, "generated runs of the model")

// model is the rules once more, over a map, for a store whose sweeper stays out. Times
// are in seconds.
type model struct {
	now   int
	lists map[string][]modelRecord
	state map[string]string
}

type modelRecord struct {
	value, id string
	source    string
	owned     bool
	expires   int
}

const (
	sourceBytes = 6_000
	totalBytes  = 80_000 // it is never full: package records tests who gives way then
)

func (m *model) live(key string) (live []modelRecord) {
	for _, r := range m.lists[key] {
		if r.expires > m.now {
			live = append(live, r)
		}
	}
	return live
}

func (m *model) keep(key string, list []modelRecord) {
	if m.lists[key] = list; len(list) == 0 {
		delete(m.lists, key)
	}
}

func (m *model) cost(source string) (all, own int) {
	for key, list := range m.lists {
		for _, r := range list {
			cost := len(key) + len(r.value) + records.RecordOverhead
			all += cost
			if r.source == source {
				own += cost
			}
		}
	}
	return all, own
}

// put is Manager.Store.
func (m *model) put(key string, r modelRecord, isCopy bool) error {
	live := m.live(key)
	m.keep(key, live)
	next := slices.Clone(live)
	at := slices.IndexFunc(live, func(o modelRecord) bool { return o.id == r.id })
	switch {
	case at < 0:
		next = append([]modelRecord{r}, next...)
	case live[at].owned && !r.owned && live[at].value == r.value:
		return nil
	case live[at].owned && !r.owned:
		return records.ErrNotOwner
	case isCopy && r.expires <= live[at].expires:
		return nil
	default:
		next[at] = r
	}
	_, own := m.cost(r.source)
	m.keep(key, next)
	_, ownThen := m.cost(r.source)
	var err error
	switch {
	case r.source == "":
	case ownThen > max(sourceBytes, own):
		err = records.ErrSourceBudget
	}
	if err != nil {
		m.keep(key, live)
	}
	return err
}

// machine is a manager over a store that is opened again and again, and its model.
type machine struct {
	model
	disk     vfs.FS
	store    *Store
	manager  *records.Manager
	outcomes map[error]int
}

func (m *machine) open(t *rapid.T) {
	var err error
	m.store, err = Open("store", us, WithFS(m.disk))
	require.NoError(t, err)
	m.manager, err = records.New(records.WithStore(m.store), records.WithSweepInterval(10_000*time.Hour),
		records.WithLimits(records.Limits{Bytes: totalBytes, BytesPerSource: sourceBytes, BytesPerGroup: totalBytes}))
	require.NoError(t, err)
}

func (m *machine) Put(t *rapid.T) {
	key := fmt.Sprint("key ", rapid.IntRange(0, 3).Draw(t, "key"))
	id := string(rune('a' + rapid.IntRange(0, 4).Draw(t, "id")))
	source := rapid.SampledFrom([]string{"", "s", "t", "u"}).Draw(t, "source")
	ttl := rapid.IntRange(1, 60).Draw(t, "ttl")
	isOwn, isCopy := rapid.Bool().Draw(t, "own"), rapid.IntRange(0, 2).Draw(t, "copy") == 0
	r := modelRecord{
		value: strings.Repeat(id, 1+rapid.IntRange(0, 3).Draw(t, "size")*500), id: id, source: source,
		owned: isOwn, expires: m.now + ttl,
	}
	p := records.Put{
		Key: []byte(key), Value: []byte(r.value), NodeID: []byte(id), TTL: time.Duration(ttl) * time.Second,
		Synced: rapid.Bool().Draw(t, "synced"), Source: records.Source{Name: source},
	}
	if isOwn {
		p.From = []byte(id)
	}
	if isCopy {
		p.ExpiresIn, p.TTL = p.TTL, time.Hour
	}
	want := m.put(key, r, isCopy)
	err := m.manager.Store(context.Background(), p)
	require.ErrorIs(t, err, want)
	m.outcomes[want]++
}

// Remove takes a record away, as a withdrawal does.
func (m *machine) Remove(t *rapid.T) {
	key := fmt.Sprint("key ", rapid.IntRange(0, 3).Draw(t, "key"))
	if len(m.lists[key]) == 0 {
		return
	}
	at := rapid.IntRange(0, len(m.lists[key])-1).Draw(t, "at")
	done := make(chan error, 1)
	m.store.Update(context.Background(), []byte(key), records.Synced, func(old []records.Record) []records.Record {
		return slices.Delete(slices.Clone(old), at, at+1)
	}, func(err error) { done <- err })
	require.NoError(t, <-done)
	m.keep(key, slices.Delete(slices.Clone(m.lists[key]), at, at+1))
	m.reopen(t) // the manager's ledger does not know of it
}

func (m *machine) Wait(t *rapid.T) {
	pause := rapid.IntRange(1, 30).Draw(t, "pause")
	time.Sleep(time.Duration(pause) * time.Second)
	m.now += pause
}

func (m *machine) Reopen(t *rapid.T) { m.reopen(t) }

func (m *machine) reopen(t *rapid.T) {
	id := m.store.ID()
	require.NoError(t, m.manager.Close())
	m.open(t)
	require.Equal(t, id, m.manager.StoreID())
}

func (m *machine) State(t *rapid.T) {
	key := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "key"))
	if rapid.Bool().Draw(t, "delete") {
		delete(m.state, key)
		require.NoError(t, m.store.State().Delete(context.Background(), []byte(key)))
		return
	}
	m.state[key] = fmt.Sprint(m.now)
	require.NoError(t, m.store.State().Put(context.Background(), []byte(key), []byte(m.state[key])))
}

// Check compares all.
func (m *machine) Check(t *rapid.T) {
	ctx, held := context.Background(), 0
	for key, list := range m.lists {
		recs, err := m.store.Get(ctx, []byte(key))
		require.NoError(t, err)
		require.Len(t, recs, len(list), key)
		for i, r := range recs {
			left := int(time.Until(r.Expires).Round(time.Second) / time.Second)
			require.Equal(t, list[i], modelRecord{string(r.Value), string(r.NodeID), r.Source.Name, r.Owned, m.now + left}, key)
			held++
		}
		live, err := m.manager.Values(ctx, []byte(key))
		if len(m.live(key)) == 0 {
			require.ErrorIs(t, err, records.ErrNotFound)
		}
		require.Len(t, live, len(m.live(key)))
	}
	all, _ := m.cost("")
	stats := m.manager.Stats()
	require.EqualValues(t, held, stats.Records)
	require.EqualValues(t, len(m.lists), stats.Keys)
	require.EqualValues(t, all, stats.Bytes)
	got := map[string]string{}
	require.NoError(t, m.store.State().Entries(ctx, func(key, value []byte) bool { got[string(key)] = string(value); return true }))
	require.Equal(t, m.state, got)
}

// The manager over a store on a disk does what the rules say, however often it is
// opened again.
func TestModel(t *testing.T) {
	require.NoError(t, flag.Set("rapid.checks", fmt.Sprint(*runs)))
	outcomes := map[error]int{}
	began, steps := time.Now(), 0
	rapid.Check(t, func(rt *rapid.T) {
		var failed any // rapid's way out of a run, which must not leave the bubble by itself
		synctest.Test(t, func(*testing.T) {
			defer func() { failed = recover() }()
			m := &machine{model: model{lists: map[string][]modelRecord{}, state: map[string]string{}}, disk: vfs.NewMem(), outcomes: outcomes}
			m.open(rt)
			defer func() {
				require.NoError(rt, m.manager.Close())
			}()
			rt.Repeat(map[string]func(*rapid.T){
				"put": m.Put, "put again": m.Put, "put once more": m.Put, "remove": m.Remove, "wait": m.Wait,
				"reopen": m.Reopen, "state": m.State, "": func(rt *rapid.T) { steps++; m.Check(rt) },
			})
		})
		if failed != nil {
			panic(failed)
		}
	})
	t.Logf("%d runs, %d steps in %v: %d kept, %d not their owner's, %d over a source's budget; -rapid.seed repeats a failure",
		*runs, steps, time.Since(began).Round(time.Millisecond), outcomes[nil], outcomes[records.ErrNotOwner], outcomes[records.ErrSourceBudget])
	for _, want := range []error{nil, records.ErrNotOwner, records.ErrSourceBudget} {
		require.Positive(t, outcomes[want], "%v", errors.Join(want))
	}
}
