package resolver

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

func number(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }

// 10,000 questions for keys that nobody has: all are answered, each key is looked up
// at most once in 15 s, and no more at a time than the limits say.
func TestUnknownKeys(t *testing.T) {
	for name, keys := range map[string]int{"the same few": 100, "all different": 10_000} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				limits := DefaultLimits()
				limits.Bytes = 1 << 20
				d := newDoor(t, s.Server, s, WithLimits(limits))
				defer d.close()
				const streams, each = 20, 500
				start := time.Now()
				done := make(chan struct{}, streams)
				for stream := range streams {
					c := d.erlang()
					go func() {
						for i := range each {
							time.Sleep(100 * time.Millisecond)
							c.send(&wire.FindValue{Key: number((stream*each + i) % keys)})
						}
					}()
					go func() {
						for range each {
							if len(c.next().Values) > 0 {
								t.Error("a value of nobody")
							}
						}
						c.Close()
						done <- struct{}{}
					}()
				}
				for range streams {
					<-done
				}
				took := time.Since(start)
				stats := d.resolver.Stats()
				periods := int(took/(15*time.Second)) + 1
				require.LessOrEqual(t, int(stats.Lookups), keys*periods)
				require.Zero(t, stats.Refreshes)
				lookups := make(map[string]int) // by key, as one contact is known
				for _, m := range s.Messages {
					lookups[string(m.(*wire.FindValue).Key)]++
				}
				for key, n := range lookups {
					require.LessOrEqual(t, n, (1+5)*periods, "a lookup, and five checks: %x", key)
				}
				require.LessOrEqual(t, stats.Bytes, limits.Bytes)
				require.LessOrEqual(t, s.Most, limits.LookupsPerSource+limits.Refreshes)
			})
		})
	}
}

// Lookups that never end: the answers come all the same, a bounded number of them is
// under way, what is over that is answered at once, and Close ends them.
func TestLookupsThatHang(t *testing.T) {
	play(t, 20, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = never
		d := newDoor(t, s.Server, s)
		defer d.close()
		limits := DefaultLimits()
		before := runtime.NumGoroutine()
		c := d.erlang()
		start := time.Now()
		go func() {
			for i := range 1000 {
				c.send(&wire.FindValue{Key: number(i)})
			}
		}()
		for i := range 1000 {
			require.Empty(t, c.next().Values)
			require.LessOrEqual(t, time.Since(start), late, "the %dth", i)
		}
		require.Equal(t, limits.LookupsPerSource, d.resolver.Stats().UnderWay)
		require.LessOrEqual(t, runtime.NumGoroutine()-before, 10*limits.LookupsPerSource)
	})
}

func TestLimits(t *testing.T) {
	small := DefaultLimits()
	small.Lookups, small.LookupsPerSource, small.Waiters = 8, 5, 5
	of := func(name string) records.Asker { return records.Asker{Source: budget.Source{Name: name}, Client: true} }
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = never
		d := newDoor(t, s.Server, s, WithLimits(small))
		defer d.close()
		r := d.resolver
		taken := func(source string, from int, done func([]records.Record)) (n int) {
			for i := range 10 {
				if r.Resolve(number(from+i), of(source), done) {
					n++
				}
			}
			return n
		}
		require.Equal(t, 5, taken("a", 0, nil), "of one source")
		require.Equal(t, fewShare, taken("b", 100, nil), "in all, but for the few that each has")
		require.Equal(t, fewShare, taken("c", 200, nil))
		require.Equal(t, 4, taken("e", 300, nil), "twice as many at most, and the one that has most gives way")
		synctest.Wait() // for what gave way
		answers := make(chan []records.Record, 10)
		for i := range 10 {
			require.Equal(t, i < 5, r.Resolve(number(0), of("d"), func(found []records.Record) { answers <- found }), "waiters")
		}
		require.Equal(t, uint64(5+6+6+7+5+1), r.Stats().Refused, "and one more that gives way to the lookup for d")
		for range 5 {
			require.Empty(t, <-answers)
		}
		r.Close()
		require.False(t, r.Resolve(number(0), of("a"), nil), "closed")
	})
}

// The addresses of one IP group together leave room for others.
func TestManyAddressesOfOneGroup(t *testing.T) {
	of := func(i int) records.Asker {
		return records.Asker{Source: budget.Source{Name: fmt.Sprintf("2001:db8:0:%x::/64", i), Group: "2001:db8::/48"}}
	}
	honest := records.Asker{Source: budget.Source{Name: "192.0.2.1", Group: "192.0.2.0/24"}}
	limits := DefaultLimits()
	t.Run("lookups", func(t *testing.T) {
		play(t, 1, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			s.Other = never
			d := newDoor(t, s.Server, s)
			defer d.close()
			for i := range 1000 {
				d.resolver.Resolve(number(i), of(i), nil)
			}
			require.Equal(t, limits.LookupsPerGroup, d.resolver.Stats().UnderWay)
			require.True(t, d.resolver.Resolve([]byte("k"), honest, nil))
		})
	})
	t.Run("waiters", func(t *testing.T) {
		play(t, 1, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			s.Other = never
			d := newDoor(t, s.Server, s)
			defer d.close()
			for i := range 5000 {
				d.resolver.Resolve([]byte("k"), of(i), func([]records.Record) {})
			}
			require.Equal(t, limits.WaitersPerGroup, d.resolver.Stats().Waiting)
			require.True(t, d.resolver.Resolve([]byte("k"), honest, func([]records.Record) {}))
		})
	})
	t.Run("refreshes", func(t *testing.T) {
		play(t, 1, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			s.Other = has(value("a", 3600))
			d := newDoor(t, s.Server, s)
			defer d.close()
			for i := range 64 { // of 64 addresses, a key each
				require.True(t, d.resolver.Resolve(number(i), of(i), nil))
				time.Sleep(time.Millisecond)
			}
			time.Sleep(3 * time.Second)
			require.True(t, d.resolver.Resolve([]byte("k"), honest, nil))
			time.Sleep(time.Second)
			s.SetOther(never)
			time.Sleep(43 * time.Second) // three quarters of a minute
			require.Equal(t, limits.RefreshesPerGroup, d.resolver.Stats().UnderWay)
			time.Sleep(2 * time.Second)
			require.Equal(t, limits.RefreshesPerGroup+1, d.resolver.Stats().UnderWay, "there is room for another's")
		})
	})
}

// While a key is looked up no more of it is gathered than is remembered of it.
func TestWhatALookupGathers(t *testing.T) {
	m := merger{limit: 256 << 10}
	now := time.Now()
	for i := range 200 {
		raw := wire.RawMap(wire.Pair{Key: "x", Value: wire.RawBytes(make([]byte, 60<<10))}, wire.Pair{Key: "node_id", Value: wire.RawBytes(provider(fmt.Sprint(i)))})
		v, err := values.Parse(raw)
		require.NoError(t, err)
		m.add([]lookup.FoundValue{{Value: v, Expires: now.Add(time.Duration(i) * time.Second)}})
		held := 0
		for _, r := range m.byProvider {
			held += len(r.Value)
		}
		require.LessOrEqual(t, held, m.limit)
	}
	found := m.records(now)
	require.Len(t, found, 4)
	for i := range found {
		require.Equal(t, now.Add(time.Duration(199-i)*time.Second), found[i].Expires, "the longest lives")
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { m.records(now) }), "it is sorted once")
	require.Len(t, m.records(now.Add(198*time.Second)), 1)
	require.Empty(t, m.records(now.Add(time.Hour)))
}

func TestOptions(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		d := newDoor(t, s.Server, s)
		defer d.close()
		bad := DefaultLimits()
		bad.Waiters = 0
		for name, opt := range map[string]Option{"nil": nil, "limits": WithLimits(bad), "no limits": WithLimits(Limits{}), "tracer": WithMetricsTracer(nil)} {
			_, err := New(d.resolver.lookups, opt)
			require.Error(t, err, name)
		}
	})
}
