package upkeep

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// unhurried are checks so rare that they do not come in between.
var unhurried = WithChecks(1000*time.Hour, time.Hour, DefaultRetry)

func TestOptions(t *testing.T) {
	for name, opt := range map[string]Option{
		"no check":          WithChecks(0, 1, 1),
		"no idle":           WithChecks(1, 0, 1),
		"no retry":          WithChecks(1, 1, -1),
		"no hand-over time": WithHandOver(0, 1),
		"no hand-over rate": WithHandOver(1, 0),
		"no tracer":         WithMetricsTracer(nil),
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				u, err := New(lookups(s), opt)
				require.ErrorContains(t, err, "upkeep option")
				require.Nil(t, u)
			})
		})
	}
}

// A bucket of three is full when a fourth comes. The oldest has been silent for a
// minute then.
func TestFullBucket(t *testing.T) {
	gone := says(nil, proto.ErrUnreachable)
	tests := map[string]struct {
		oldest, others, newcomer reply
		erlang                   bool // the oldest
		pings                    int  // to the oldest
		stays                    bool
		failures                 int
	}{
		"the oldest is dead":              {oldest: gone, pings: routing.MaxFailures},
		"it does not answer":              {oldest: never, pings: routing.MaxFailures},
		"all are, but who came":           {oldest: gone, others: gone, pings: routing.MaxFailures},
		"it answers":                      {pings: 1, stays: true},
		"it is busy":                      {oldest: says(nil, &proto.RemoteError{Code: wire.ReasonBusy}), pings: 1, stays: true},
		"an Erlang one is dead":           {erlang: true, oldest: gone, pings: routing.MaxFailures},
		"an Erlang one is left alone":     {erlang: true, oldest: says(nil, proto.ErrResting), pings: 1, stays: true},
		"nobody answers, so we are alone": {oldest: gone, others: gone, newcomer: gone, pings: 1, stays: true},
		"nor in time":                     {oldest: never, others: never, newcomer: never, pings: 1, stays: true},
		"who came is gone again":          {oldest: gone, newcomer: gone, pings: routing.MaxFailures},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				u := startUpkeep(s, unhurried)
				defer u.Close()
				oldest, second, third, newcomer := s.In(0, 1), s.In(0, 2), s.In(0, 3), s.In(0, 4)
				if tt.erlang { // to another such, as a libp2p peer would have its place at once
					oldest, newcomer = s.ErlangIn(0, 1), s.ErlangIn(0, 4)
				}
				for c, r := range map[*routing.Contact]reply{&oldest: tt.oldest, &second: tt.others, &third: tt.others, &newcomer: tt.newcomer} {
					if r != nil {
						s.Replies[c.ID] = r
					}
				}
				s.Know(oldest, second, third)
				time.Sleep(time.Minute)
				require.ErrorIs(t, s.Server.Admit(newcomer), routing.ErrBucketFull)
				time.Sleep(2 * time.Minute)

				pings := s.Questions(oldest, wire.TypePing)
				require.Len(t, pings, tt.pings)
				for i := range pings[1:] {
					require.GreaterOrEqual(t, pings[i+1]-pings[i], DefaultRetry)
				}
				want := []routing.Contact{second, third, newcomer}
				switch {
				case tt.stays && tt.pings == 1 && tt.oldest == nil:
					want = []routing.Contact{second, third, oldest} // at the tail
				case tt.stays:
					want = []routing.Contact{oldest, second, third}
				}
				if tt.stays {
					require.Equal(t, ids(want), ids(s.Server.Contacts()))
				}
				require.ElementsMatch(t, ids(want), ids(s.Server.Contacts()))
				for _, c := range want {
					require.Zero(t, s.Failures(c))
				}
			}, routing.WithBucketSize(3))
		})
	}
}

// Who found a bucket full enters when somebody in it dies, without coming again.
func TestWhoWaitsEntersLater(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer startUpkeep(s, unhurried).Close()
		a, b, first, last := s.In(0, 1), s.In(0, 2), s.In(0, 3), s.In(0, 4)
		s.Know(a, b)
		time.Sleep(time.Minute)
		require.ErrorIs(t, s.Server.Admit(first), routing.ErrBucketFull)
		time.Sleep(time.Minute)
		require.ErrorIs(t, s.Server.Admit(last), routing.ErrBucketFull)
		time.Sleep(time.Minute)
		require.ElementsMatch(t, ids([]routing.Contact{a, b}), ids(s.Server.Contacts()))

		for range routing.MaxFailures {
			s.Server.Table().Failed(a.ID, time.Now())
		}
		require.Equal(t, ids([]routing.Contact{b, last}), ids(s.Server.Contacts()))
		require.True(t, s.Server.Forget(b.ID))
		require.Equal(t, ids([]routing.Contact{last, first}), ids(s.Server.Contacts()))
	}, routing.WithBucketSize(2))
}

// However many are turned away, the oldest is asked once at a time, and nobody
// else in the bucket is.
func TestOneChallengeAtATime(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer startUpkeep(s, unhurried).Close()
		oldest, second, witness := s.In(0, 1), s.In(0, 2), s.In(1, 1)
		asking := 0
		s.Replies[oldest.ID] = func(ctx context.Context, m wire.Message) (wire.Message, error) {
			if asking++; asking > 1 {
				t.Error("asked twice at a time")
			}
			defer func() { asking-- }()
			return never(ctx, m)
		}
		s.Know(oldest, second, witness)
		time.Sleep(time.Minute)
		for i := range 100 {
			require.ErrorIs(t, s.Server.Admit(s.In(0, 10+i)), routing.ErrBucketFull)
			time.Sleep(100 * time.Millisecond)
			_, waiting := s.Server.Table().LeastRecentlySeen(0)
			require.LessOrEqual(t, len(waiting), routing.MaxReplacements)
		}
		time.Sleep(time.Minute)
		require.Len(t, s.Questions(oldest, wire.TypePing), routing.MaxFailures)
		require.Equal(t, ids([]routing.Contact{second, s.In(0, 109)}), ids(s.Server.Contacts())[:2], "who came last has the place")
	}, routing.WithBucketSize(2))
}

// Contacts that have just spoken are not asked, however many come.
func TestNoChallengeOfTheLively(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer startUpkeep(s, unhurried).Close()
		s.Know(s.In(0, 1), s.In(0, 2))
		for i := range 20 {
			require.ErrorIs(t, s.Server.Admit(s.In(0, 10+i)), routing.ErrBucketFull)
			time.Sleep(100 * time.Millisecond)
		}
		require.Empty(t, s.Asked)
	}, routing.WithBucketSize(2))
}

// An Erlang contact is in no lookup, so that nothing but PINGs speaks to it.
func TestSilentContactsAreAsked(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer startUpkeep(s).Close()
		erlang := s.ErlangIn(0, 1)
		s.Know(erlang)
		time.Sleep(DefaultIdle - time.Second)
		require.Empty(t, s.Questions(erlang, wire.TypePing), "not yet")
		time.Sleep(DefaultIdle)
		require.Len(t, s.Questions(erlang, wire.TypePing), 1)
		erlang.LastSeen = time.Now()
		s.Know(erlang) // it speaks
		time.Sleep(DefaultIdle - time.Minute)
		require.Len(t, s.Questions(erlang, wire.TypePing), 1, "not while it speaks by itself")
		time.Sleep(2 * time.Minute)
		require.Len(t, s.Questions(erlang, wire.TypePing), 2)
	})
}

// Who has left a question unanswered is not waited for until it is idle.
func TestDoubtfulContactsAreAsked(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer startUpkeep(s).Close()
		erlang := s.ErlangIn(0, 1)
		s.Know(erlang)
		s.Server.Table().Failed(erlang.ID, time.Now())
		time.Sleep(DefaultCheckInterval + time.Second)
		require.Len(t, s.Questions(erlang, wire.TypePing), 1)
		require.Zero(t, s.Failures(erlang))
	})
}

// Whom a lookup did not wait for, and so did not blame, is asked soon, though it
// spoke a moment ago.
func TestWhoKeptALookupWaitingIsAsked(t *testing.T) {
	play(t, 2*routing.BucketSize, func(t *testing.T, s *script) {
		defer startUpkeep(s).Close()
		dead, late := s.Peers[0], s.Peers[1]
		s.Replies[dead.ID] = never
		s.Replies[late.ID] = after(2*lookup.DefaultSlow, names())
		for _, c := range s.Peers {
			c.LastSeen = time.Now()
			s.Know(c)
		}
		_, err := lookups(s).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Zero(t, s.Failures(dead), "it is not blamed for the lookup")

		time.Sleep(5 * time.Minute)
		_, there := s.Server.Contact(dead.ID)
		require.False(t, there)
		require.Len(t, s.Server.Contacts(), 2*routing.BucketSize-1, "who is only slow stays")
	})
}

func TestTheDeadLeave(t *testing.T) {
	const checks = routing.MaxFailures + 1 // one may have gone by just before
	tests := map[string]struct {
		erlang bool
		reply  reply
		leaves bool
	}{
		"a libp2p contact is dead":   {false, says(nil, proto.ErrUnreachable), true},
		"it is silent":               {false, never, true},
		"it talks nonsense":          {false, says(nil, &proto.RemoteError{Code: "nonsense"}), true},
		"it is busy":                 {false, says(nil, &proto.RemoteError{Code: wire.ReasonBusy}), false},
		"an Erlang contact is dead":  {true, says(nil, proto.ErrUnreachable), true},
		"it has been left alone":     {true, says(nil, proto.ErrResting), false},
		"it lives":                   {true, nil, false},
		"a libp2p contact lives too": {false, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 5, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				suspect := s.In(3, 1)
				if tt.erlang {
					suspect = s.ErlangIn(3, 1)
				}
				s.Know(suspect)
				if tt.reply != nil {
					s.Replies[suspect.ID] = tt.reply
				}
				defer startUpkeep(s).Close()
				time.Sleep(DefaultIdle + checks*(DefaultCheckInterval+lookup.DefaultQueryTimeout))
				_, there := s.Server.Contact(suspect.ID)
				require.Equal(t, tt.leaves, !there)
				for _, c := range s.Peers {
					require.Zero(t, s.Failures(c))
				}
				if there {
					require.Zero(t, s.Failures(suspect))
				}
			})
		})
	}
}

// A node that is cut off keeps its contacts, and knows whom it has lost once it
// is back.
func TestCutOff(t *testing.T) {
	for name, silence := range map[string]reply{"unreachable": says(nil, proto.ErrUnreachable), "silent": never} {
		t.Run(name, func(t *testing.T) {
			play(t, 30, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Know(s.ErlangIn(2, 1))
				defer startUpkeep(s).Close()
				time.Sleep(2 * time.Minute)
				back := s.Other
				s.SetOther(silence)
				time.Sleep(5 * time.Hour)
				require.Len(t, s.Server.Contacts(), 31)
				for _, c := range s.Server.Contacts() {
					require.Zero(t, c.Failures())
				}
				s.Mu.Lock()
				s.Other = back
				s.Replies[s.Peers[0].ID] = silence
				s.Mu.Unlock()
				time.Sleep(10 * time.Minute)
				require.Len(t, s.Server.Contacts(), 30)
				require.NotContains(t, ids(s.Server.Contacts()), s.Peers[0].ID)
			})
		})
	}
}

// Contacts that speak all the time and answer nothing do not keep the dead in
// the table.
func TestTalkersDoNotShieldTheDead(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		dead := s.ErlangIn(0, 1) // in no lookup
		s.Replies[dead.ID] = says(nil, proto.ErrUnreachable)
		s.Know(dead)
		for i := range 3 {
			s.Replies[s.In(10+i, i).ID] = says(nil, proto.ErrUnreachable)
		}
		defer startUpkeep(s).Close()
		for range 30 {
			for i := range 8 {
				s.Know(s.In(1+i, i)) // they live
			}
			time.Sleep(time.Second)
			for i := range 3 {
				s.Know(s.In(10+i, i))
			}
			time.Sleep(time.Minute)
		}
		require.NotContains(t, ids(s.Server.Contacts()), dead.ID)
	})
}

// Closed at any moment, nothing is left of the upkeep.
func TestCloseAtAnyPoint(t *testing.T) {
	for seed := range uint64(60) {
		play(t, 60, func(t *testing.T, s *script) {
			rng := routingtest.Rand(seed)
			replies := []reply{names(s.Peers[:10]...), never, says(nil, proto.ErrUnreachable), after(3*time.Second, names())}
			for _, c := range s.Peers {
				s.Replies[c.ID] = after(time.Duration(rng.IntN(400))*time.Millisecond, replies[rng.IntN(len(replies))])
			}
			for i := range 40 {
				id := routingtest.RandomID(rng)
				require.NoError(t, s.Server.Records().Store(context.Background(), records.Put{Key: id[:], Value: value(fmt.Sprint(i), 3000), TTL: time.Hour}))
			}
			u := startUpkeep(s, WithChecks(3*time.Second, 4*time.Second, time.Second), WithHandOver(time.Second, 1000))
			joined := make(chan struct{})
			go func() {
				defer close(joined)
				for _, c := range s.Peers {
					_ = s.Server.Admit(c)
					time.Sleep(200 * time.Millisecond)
				}
				_ = u.Join(t.Context())
			}()
			time.Sleep(time.Duration(rng.IntN(40_000)) * time.Millisecond)
			start := time.Now()
			u.Close()
			require.Zero(t, time.Since(start), "at once")
			synctest.Wait() // for Join
			s.Mu.Lock()
			asked := len(s.Asked)
			s.Mu.Unlock()
			<-joined
			require.Len(t, s.Asked, asked, "nobody is asked any more")
			u.Close() // again is no harm
		}, routing.WithBucketSize(5))
	}
}

// In real time, with nobody to hide a goroutine.
func TestUpkeepLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for seed := range uint64(20) {
		server, err := routing.NewServer(routing.ID{}, routing.WithBucketSize(5))
		require.NoError(t, err)
		require.NoError(t, server.Records().Store(context.Background(), records.Put{Key: []byte("a key"), Value: []byte("v")}))
		l, err := lookup.New(server, routingtest.Silent{}, lookup.WithTimeouts(time.Second, time.Millisecond, time.Minute))
		require.NoError(t, err)
		u, err := New(l, WithChecks(time.Millisecond, time.Millisecond, time.Millisecond), WithHandOver(time.Millisecond, 1000))
		require.NoError(t, err)
		for i := range 50 {
			_ = server.Admit(routingtest.Peer(i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(routingtest.Rand(seed).IntN(5_000))*time.Microsecond)
		_ = u.Join(ctx)
		cancel()
		u.Close()
		require.NoError(t, server.Close())
		goleak.VerifyNone(t, before)
	}
}
