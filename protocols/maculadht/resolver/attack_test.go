package resolver

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// askForWhatNobodyHas has sources of as many IP groups ask for ever new keys, and for
// another one as soon as there is room, until the test stops it.
func (d *door) askForWhatNobodyHas(sources int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	for i := range sources {
		of := records.Asker{Source: budget.Source{Name: fmt.Sprintf("198.51.%d.1", i), Group: fmt.Sprintf("198.51.%d.0/24", i)}, Client: true}
		asking.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if !d.resolver.Resolve(fmt.Appendf(nil, "nobody's %d %d", i, n), of, func([]records.Record) {}) {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	return func() { cancel(); asking.Wait() }
}

// Five sources of five IP groups take all lookups that they may, for keys that nobody
// has and at nodes that never answer. An honest client's questions are looked up and
// answered in time all the same.
func TestSilentHoldersOfWhatNobodyHas(t *testing.T) {
	const questions = 30
	ofHonest := func(key []byte) bool { return string(key[:6]) == "honest" }
	tests := map[string]struct {
		honest routingtest.Reply // to questions for the honest client's keys
		values int
	}{
		"others have it":            {after(50*time.Millisecond, has(value("a", 3600))), 1},
		"nobody has it":             {after(50*time.Millisecond, names()), 0},
		"nobody says whether it is": {never, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 30, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = func(ctx context.Context, m wire.Message) (wire.Message, error) {
					if f, ok := m.(*wire.FindValue); ok && ofHonest(f.Key) {
						return tt.honest(ctx, m)
					}
					return never(ctx, m)
				}
				d := newDoor(t, s.Server, s)
				defer d.close()
				defer d.askForWhatNobodyHas(5)()
				time.Sleep(time.Second)
				require.GreaterOrEqual(t, d.resolver.Stats().UnderWay, DefaultLimits().Lookups, "all are taken")

				c := d.erlang()
				answered, lookedUp := 0, 0
				for i := range questions {
					key := fmt.Appendf(nil, "honest %d", i)
					values, took := c.find(key)
					if took <= late && len(values) == tt.values {
						answered++
					}
					s.Mu.Lock()
					for _, m := range s.Messages {
						if f, ok := m.(*wire.FindValue); ok && string(f.Key) == string(key) {
							lookedUp++
							break
						}
					}
					s.Messages = nil
					s.Mu.Unlock()
					time.Sleep(time.Second)
				}
				t.Logf("of %d questions %d were answered in time, %d looked up", questions, answered, lookedUp)
				require.GreaterOrEqual(t, answered, questions*95/100)
				require.GreaterOrEqual(t, lookedUp, questions*95/100)
				require.LessOrEqual(t, d.resolver.Stats().UnderWay, 2*DefaultLimits().Lookups+DefaultLimits().Refreshes)
			})
		})
	}
}

// A lookup that gives way tells what it has found, and is no miss: its key is looked up
// again as soon as somebody asks.
func TestWhatGivesWayIsNoMiss(t *testing.T) {
	limits := DefaultLimits()
	limits.Lookups, limits.LookupsPerSource = 8, 8
	of := func(name string) records.Asker { return records.Asker{Source: budget.Source{Name: name}, Client: true} }
	play(t, 2, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = never
		s.Replies[s.Peers[0].ID] = after(time.Millisecond, has(value("a", 3600)))
		d := newDoor(t, s.Server, s, WithLimits(limits))
		defer d.close()
		answers := make(chan int, 1)
		require.True(t, d.resolver.Resolve(number(0), of("heavy"), func(found []records.Record) { answers <- len(found) }))
		time.Sleep(10 * time.Millisecond)
		for i := range 7 {
			require.True(t, d.resolver.Resolve(number(1+i), of("heavy"), nil))
		}
		for i := range 7 {
			require.Equal(t, i < fewShare+2, d.resolver.Resolve(number(100+i), of("light"), nil), "the %dth", i)
		}
		require.Equal(t, 1, <-answers, "what had come, at once")
		synctest.Wait()
		require.Equal(t, 12, d.resolver.Stats().UnderWay)
		_, recent := d.resolver.Known(number(0), of("light"))
		require.True(t, recent, "it was found")
		time.Sleep(unheardLife)
		_, recent = d.resolver.Known(number(1), of("light"))
		require.False(t, recent, "it is not known that nobody has it")
		require.Equal(t, uint64(3), d.resolver.Stats().Refused, "two that gave way, and the last")
	})
}
