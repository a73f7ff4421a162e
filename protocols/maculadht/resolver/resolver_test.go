package resolver

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// The words of a script.
type script = routingtest.Script

var (
	play  = routingtest.Play
	names = routingtest.Names
	has   = routingtest.Has
	after = routingtest.After
	never = routingtest.Never
)

// provider returns the id of a provider that an Erlang node survives.
func provider(name string) []byte { return fmt.Appendf(nil, "%32s", name) }

// value returns its value.
func value(name string, ttl int) wire.Raw { return routingtest.Value(string(provider(name)), ttl) }

const late = 400 * time.Millisecond

// questions returns how many FIND_VALUEs of a key the network was asked, of any key
// where it is nil. Where one contact is known that is how many lookups there were.
func questions(s *script, key []byte) (n int) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for _, m := range s.Messages {
		if m, ok := m.(*wire.FindValue); ok && (key == nil || string(m.Key) == string(key)) {
			n++
		}
	}
	return n
}

// keep stores a value at the node itself.
func keep(s *script, key []byte, raw wire.Raw) {
	v, err := wire.ParseValue(raw)
	require.NoError(s.T, err)
	require.NoError(s.T, s.Server.Records().Store(context.Background(), records.Put{Key: key, Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
}

func TestWhenTheAnswerComes(t *testing.T) {
	const (
		ms   = time.Millisecond
		soon = time.Duration(-1) // long before the limit
	)
	tests := map[string]struct {
		peers  map[int]routingtest.Reply // of 30, by nearness
		other  routingtest.Reply
		values int
		took   time.Duration
	}{
		"when enough have it":          {map[int]routingtest.Reply{0: after(50*ms, has(value("a", 60))), 1: after(60*ms, has(value("a", 60))), 2: after(70*ms, has(value("b", 60)))}, never, 2, 70 * ms},
		"when all nearby have missed":  {nil, after(ms, names()), 0, soon},
		"at the limit with what came":  {map[int]routingtest.Reply{1: after(50*ms, has(value("a", 60)))}, never, 1, late},
		"at the limit without":         {nil, never, 0, late},
		"not with what came too late":  {map[int]routingtest.Reply{0: after(late+ms, has(value("a", 60)))}, never, 0, late},
		"what has ended is no value":   {map[int]routingtest.Reply{0: after(50*ms, has(value("a", 1)))}, after(2*time.Second, names()), 1, late},
		"without what would harm it":   {map[int]routingtest.Reply{0: has(routingtest.Value("short", 60))}, after(ms, names()), 0, soon},
		"when nobody is there to ask":  {nil, nil, 0, 0},
		"though one speaks rubbish":    {map[int]routingtest.Reply{0: after(ms, has(wire.RawText("x")))}, after(ms, has(value("a", 60))), 1, soon},
		"when one has it, others none": {map[int]routingtest.Reply{3: after(ms, has(value("a", 60)))}, after(ms, names()), 1, soon},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 30, func(t *testing.T, s *script) {
				if tt.other != nil {
					s.Know(s.Peers...)
				}
				s.Other = tt.other
				for i, r := range tt.peers {
					s.Replies[s.Peers[i].ID] = r
				}
				d := newDoor(t, s.Server, s)
				defer d.close()
				c := d.erlang()
				values, took := c.find(s.Target[:])
				require.Len(t, values, tt.values)
				if tt.took == soon {
					require.Less(t, took, late/4)
				} else {
					require.Equal(t, tt.took, took)
				}
			})
		})
	}
}

// Who has not CONNECTed may be a gateway that asks many, one after the other.
func TestAGatewayWaitsLess(t *testing.T) {
	limits := DefaultLimits()
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = after(limits.Wait-time.Millisecond, has(value("a", 60)))
		d := newDoor(t, s.Server, s)
		defer d.close()
		gateway, client := d.gateway(), d.erlang()
		values, took := gateway.find(s.Target[:])
		require.Empty(t, values)
		require.Equal(t, limits.GatewayWait, took)
		values, took = gateway.find(s.Target[:])
		require.Len(t, values, 1)
		require.Equal(t, limits.GatewayWait, took, "it joins the lookup")
		values, took = client.find([]byte("another"))
		require.Len(t, values, 1)
		require.Equal(t, limits.Wait, took, "a client waits longer")
	})
}

func TestTheLookupGoesOnIntoTheCache(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = after(2*time.Second, has(value("a", 60)))
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		values, took := c.find(s.Target[:])
		require.Empty(t, values)
		require.Equal(t, late, took)
		values, took = c.find(s.Target[:])
		require.Empty(t, values)
		require.Equal(t, late, took, "another waits for the same lookup")
		time.Sleep(2 * time.Second)
		values, took = c.find(s.Target[:])
		require.Len(t, values, 1)
		require.Zero(t, took)
		require.Equal(t, 1, questions(s, nil))
	})
}

func TestOtherStreamsDoNotWait(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = never
		keep(s, []byte("here"), value("a", 60))
		d := newDoor(t, s.Server, s)
		defer d.close()
		one, other := d.erlang(), d.erlang()
		one.send(&wire.FindValue{Key: s.Target[:]})
		values, took := other.find([]byte("here"))
		require.Len(t, values, 1)
		require.Zero(t, took)
		require.Empty(t, one.next().Values)
	})
}

func TestALocalHitIsAnsweredAtOnceAndWholeTheNextTime(t *testing.T) {
	play(t, 3, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = after(time.Second/2, has(value("here", 60), value("elsewhere", 60)))
		keep(s, s.Target[:], value("here", 60))
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		values, took := c.find(s.Target[:])
		require.Equal(t, []wire.Raw{value("here", 60)}, values)
		require.Zero(t, took)
		time.Sleep(3 * time.Second)
		values, took = c.find(s.Target[:])
		require.Equal(t, []wire.Raw{value("here", 60), value("elsewhere", 60)}, values)
		require.Zero(t, took)
	})
}

func TestTheFresherOfTwoIsTheAnswer(t *testing.T) {
	changed := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(provider("a"))}, wire.Pair{Key: "ttl", Value: wire.RawInt(60)}, wire.Pair{Key: "n", Value: wire.RawInt(2)})
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = has(changed)
		keep(s, s.Target[:], value("a", 50))
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		c.find(s.Target[:])
		time.Sleep(time.Second)
		values, _ := c.find(s.Target[:])
		require.Equal(t, []wire.Raw{changed}, values, "what was renewed elsewhere")
		keep(s, s.Target[:], value("a", 60))
		values, _ = c.find(s.Target[:])
		require.Equal(t, []wire.Raw{value("a", 60)}, values, "what is renewed here")
	})
}

func TestHowLongAnAnswerIsRemembered(t *testing.T) {
	tests := map[string]struct {
		reply  routingtest.Reply
		asked  time.Duration // again, after the first answer
		values int
		again  bool // it was looked up again
	}{
		"a hit":                           {has(value("a", 3600)), 40 * time.Second, 1, false},
		"a miss":                          {names(), 14 * time.Second, 0, false},
		"a miss is over":                  {names(), 16 * time.Second, 0, true},
		"a hit, no longer than it lives":  {once(has(value("a", 10)), names()), 11 * time.Second, 0, false},
		"a hit that ends at once":         {once(has(value("a", 2)), has(value("a", 60))), 3 * time.Second, 1, false},
		"a hit that nobody else asks for": {has(value("a", 3600)), 10 * time.Minute, 1, true},
		"that nobody answered":            {routingtest.Says(nil, proto.ErrUnreachable), 2 * time.Second, 0, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = tt.reply
				d := newDoor(t, s.Server, s)
				defer d.close()
				d.erlang().find(s.Target[:])
				time.Sleep(tt.asked)
				before := d.resolver.Stats().Lookups
				values, _ := d.erlang().find(s.Target[:])
				require.Len(t, values, tt.values)
				require.Equal(t, tt.again, d.resolver.Stats().Lookups > before)
			})
		})
	}
}

// once answers one question by first and the others by then.
func once(first, then routingtest.Reply) routingtest.Reply {
	asked := 0
	return func(ctx context.Context, m wire.Message) (wire.Message, error) {
		if asked++; asked == 1 {
			return first(ctx, m)
		}
		return then(ctx, m)
	}
}

// What is asked for again and again is always there, is looked up about once in 45 s,
// and shows a change within that time; when it is not asked for any more the lookups
// end, and it is forgotten.
func TestWhatIsAskedForIsKeptFresh(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = has(value("a", 3600))
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		c.find(s.Target[:])
		for i := range 600 {
			if i == 300 {
				s.SetOther(has(value("a", 3600), value("b", 3600)))
			}
			time.Sleep(time.Second)
			values, took := c.find(s.Target[:])
			require.Zero(t, took, "at %d s", i)
			require.NotEmpty(t, values)
			if i > 300+45 {
				require.Len(t, values, 2)
			}
		}
		require.InDelta(t, 600/45, questions(s, nil), 2)
		time.Sleep(7 * time.Minute)
		before := questions(s, nil)
		time.Sleep(time.Hour)
		require.Equal(t, before, questions(s, nil), "nobody asks any more")
		require.Zero(t, d.resolver.Stats().Keys)
	})
}

// Who waits for something to be stored finds it soon after it is, though it asked
// before; and that costs no lookup, and few questions.
func TestWhatIsStoredAfterItWasAskedFor(t *testing.T) {
	for _, before := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
		t.Run(before.String(), func(t *testing.T) {
			play(t, 20, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				d := newDoor(t, s.Server, s)
				defer d.close()
				c := d.erlang()
				values, _ := c.find(s.Target[:])
				require.Empty(t, values)
				for start := time.Now(); time.Since(start) < before; {
					c.find(s.Target[:])
					time.Sleep(20 * time.Millisecond)
				}
				s.SetOther(after(routingtest.Delay, has(value("a", 60))))
				for stored := time.Now(); len(values) == 0; time.Sleep(20 * time.Millisecond) {
					values, _ = c.find(s.Target[:])
					require.Less(t, time.Since(stored), 2*time.Second)
				}
			})
		})
	}
	play(t, 20, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		d := newDoor(t, s.Server, s)
		defer d.close()
		c := d.erlang()
		c.find(s.Target[:])
		asked := questions(s, nil)
		for start := time.Now(); time.Since(start) < 14*time.Second; time.Sleep(20 * time.Millisecond) {
			c.find(s.Target[:])
		}
		require.LessOrEqual(t, questions(s, nil)-asked, 5*3)
		require.EqualValues(t, 1, d.resolver.Stats().Lookups)
		require.Zero(t, d.resolver.Stats().Refreshes)
	})
}

func TestWhoIsNeverAsked(t *testing.T) {
	gateway := []byte(wire.GatewayPrefix + "x")
	tests := map[string]struct {
		dialect server.Dialect
		key     []byte
		asked   bool
	}{
		"libp2p contacts for an Erlang node": {server.Erlang(), []byte("k"), true},
		"nobody for a libp2p peer":           {server.LibP2P(), []byte("k"), false},
		"nobody for a gateway's entry":       {server.Erlang(), gateway, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 5, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				erlang := s.ErlangIn(0, 7)
				s.Know(erlang)
				d := newDoor(t, s.Server, s)
				defer d.close()
				c := d.open(tt.dialect)
				c.send(&wire.FindValue{Key: tt.key})
				require.Empty(t, c.next().Values)
				time.Sleep(time.Minute)
				require.Equal(t, tt.asked, questions(s, tt.key) > 0)
				require.NotContains(t, s.Asked, erlang.ID, "an Erlang node that waits for one that waits for it")
			})
		})
	}
}

func TestTheAnswerFitsTheFirstPacket(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		var values []wire.Raw
		for i := range 100 {
			values = append(values, value(fmt.Sprintf("provider %032d", i), 60+i))
		}
		s.Other = has(values...)
		keep(s, []byte("both"), value("here", 86_400))
		d := newDoor(t, s.Server, s)
		defer d.close()
		for _, key := range []string{"elsewhere", "both"} {
			c := d.gateway()
			for range 2 {
				c.send(&wire.FindValue{Key: []byte(key)})
				reply := c.next()
				require.NotEmpty(t, reply.Values)
				b, err := wire.AppendFrame(nil, reply)
				require.NoError(t, err)
				require.LessOrEqual(t, len(b), server.FirstPacket)
				time.Sleep(time.Second)
			}
			c.Close()
		}
	})
}

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
		require.Equal(t, 3, taken("e", 300, nil), "twice as many at most")
		answers := make(chan []records.Record, 10)
		for i := range 10 {
			require.Equal(t, i < 5, r.Resolve(number(0), of("d"), func(found []records.Record) { answers <- found }), "waiters")
		}
		require.Equal(t, uint64(5+6+6+7+5), r.Stats().Refused)
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
		v, err := wire.ParseValue(raw)
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

// A gateway that is asked after a miss of ours, and asks back, is answered at once.
func TestAMissOfOurOwn(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		erlang := s.ErlangIn(0, 7)
		s.Know(erlang)
		s.Other = after(10*time.Millisecond, names())
		d := newDoor(t, s.Server, s)
		defer d.close()
		var took time.Duration
		s.Replies[erlang.ID] = func(context.Context, wire.Message) (wire.Message, error) {
			_, took = d.gateway().find(s.Target[:])
			return &wire.FindValueReply{}, nil
		}
		took = -1
		_, err := d.resolver.lookups.Search(t.Context(), lookup.Search{Key: s.Target[:], OnMissed: func(closest []routing.Contact) {
			d.resolver.Missed(s.Target[:], closest)
		}})
		require.ErrorIs(t, err, records.ErrNotFound)
		require.Zero(t, took)
		time.Sleep(6 * time.Second)
		_, took = d.gateway().find(s.Target[:])
		require.NotZero(t, took, "it is not remembered for long")
		s.SetOther(has(value("a", 60)))
		time.Sleep(20 * time.Second)
		d.gateway().find(s.Target[:])
		d.resolver.Missed(s.Target[:], nil)
		values, _ := d.gateway().find(s.Target[:])
		require.Len(t, values, 1, "what is known is better")
	})
}

// What is remembered stays within its bounds, whatever is found, and what was asked
// for last stays longest.
func TestTheCacheIsBounded(t *testing.T) {
	big := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(provider("a"))}, wire.Pair{Key: "x", Value: wire.RawBytes(make([]byte, 60_000))})
	small := DefaultLimits()
	small.Bytes, small.Keys = 1<<20, 50
	for name, reply := range map[string]routingtest.Reply{"many keys": has(value("a", 3600)), "big values": has(big), "misses": names()} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Other = reply
				d := newDoor(t, s.Server, s, WithLimits(small))
				defer d.close()
				for i := range 200 {
					require.True(t, d.resolver.Resolve(number(i), records.Asker{}, nil))
					time.Sleep(time.Millisecond)
					stats := d.resolver.Stats()
					require.LessOrEqual(t, stats.Keys, small.Keys)
					require.LessOrEqual(t, stats.Bytes, small.Bytes)
				}
				_, recent := d.resolver.Known(number(199), records.Asker{})
				require.True(t, recent)
				_, recent = d.resolver.Known(number(0), records.Asker{})
				require.False(t, recent)
			})
		})
	}
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
