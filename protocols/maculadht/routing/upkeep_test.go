package routing

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

func (s *script) upkeep(opts ...Option) *Upkeep {
	u, err := NewUpkeep(s.lookups(), opts...)
	require.NoError(s.t, err)
	return u
}

// unhurried are checks so rare that they do not come in between.
var unhurried = WithChecks(1000*time.Hour, time.Hour, DefaultRetry)

// in returns the i-th libp2p contact of a bucket, which has just spoken.
func (s *script) in(bucket, i int) Contact {
	id := idAt(newRand(uint64(i)), s.server.Self(), bucket)
	c := libp2pContact(id, peer.ID(fmt.Sprintf("\x00\x0e%06d %07d", bucket, i)))
	c.LastSeen = time.Now()
	return c
}

// erlangIn is in for an Erlang contact.
func (s *script) erlangIn(bucket, i int) Contact {
	c := s.in(bucket, i)
	c.Peer, c.Endpoint = "", fmt.Sprintf("https://192.0.2.%d:%d", bucket, i)
	return c
}

// questions returns when a contact was sent messages of a type.
func (s *script) questions(to Contact, typ wire.Type) (when []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, id := range s.asked {
		if id == to.ID && s.messages[i].Type() == typ {
			when = append(when, s.when[i])
		}
	}
	return when
}

func TestUpkeepOptions(t *testing.T) {
	for name, opt := range map[string]Option{
		"no check":          WithChecks(0, 1, 1),
		"no idle":           WithChecks(1, 0, 1),
		"no retry":          WithChecks(1, 1, -1),
		"no hand-over time": WithHandOver(0, 1),
		"no hand-over rate": WithHandOver(1, 0),
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				_, err := NewUpkeep(s.lookups(), opt)
				require.ErrorContains(t, err, "want more than 0")
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
		"the oldest is dead":              {oldest: gone, pings: MaxFailures},
		"it does not answer":              {oldest: never, pings: MaxFailures},
		"all are, but who came":           {oldest: gone, others: gone, pings: MaxFailures},
		"it answers":                      {pings: 1, stays: true},
		"it is busy":                      {oldest: says(nil, &proto.RemoteError{Code: wire.ReasonBusy}), pings: 1, stays: true},
		"an Erlang one is dead":           {erlang: true, oldest: gone, pings: MaxFailures},
		"an Erlang one is left alone":     {erlang: true, oldest: says(nil, proto.ErrResting), pings: 1, stays: true},
		"nobody answers, so we are alone": {oldest: gone, others: gone, newcomer: gone, pings: 1, stays: true},
		"nor in time":                     {oldest: never, others: never, newcomer: never, pings: 1, stays: true},
		"who came is gone again":          {oldest: gone, newcomer: gone, pings: MaxFailures},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 0, func(t *testing.T, s *script) {
				u := s.upkeep(unhurried)
				defer u.Close()
				oldest, second, third, newcomer := s.in(0, 1), s.in(0, 2), s.in(0, 3), s.in(0, 4)
				if tt.erlang { // to another such, as a libp2p peer would have its place at once
					oldest, newcomer = s.erlangIn(0, 1), s.erlangIn(0, 4)
				}
				for c, r := range map[*Contact]reply{&oldest: tt.oldest, &second: tt.others, &third: tt.others, &newcomer: tt.newcomer} {
					if r != nil {
						s.replies[c.ID] = r
					}
				}
				s.know(oldest, second, third)
				time.Sleep(time.Minute)
				require.ErrorIs(t, s.server.Admit(newcomer), ErrBucketFull)
				time.Sleep(2 * time.Minute)

				pings := s.questions(oldest, wire.TypePing)
				require.Len(t, pings, tt.pings)
				for i := range pings[1:] {
					require.GreaterOrEqual(t, pings[i+1]-pings[i], DefaultRetry)
				}
				want := []Contact{second, third, newcomer}
				switch {
				case tt.stays && tt.pings == 1 && tt.oldest == nil:
					want = []Contact{second, third, oldest} // at the tail
				case tt.stays:
					want = []Contact{oldest, second, third}
				}
				if tt.stays {
					require.Equal(t, ids(want), ids(s.server.Contacts()))
				}
				require.ElementsMatch(t, ids(want), ids(s.server.Contacts()))
				for _, c := range want {
					require.Zero(t, s.failures(c))
				}
			}, WithBucketSize(3))
		})
	}
}

// Who found a bucket full enters when somebody in it dies, without coming again.
func TestWhoWaitsEntersLater(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer s.upkeep(unhurried).Close()
		a, b, first, last := s.in(0, 1), s.in(0, 2), s.in(0, 3), s.in(0, 4)
		s.know(a, b)
		time.Sleep(time.Minute)
		require.ErrorIs(t, s.server.Admit(first), ErrBucketFull)
		time.Sleep(time.Minute)
		require.ErrorIs(t, s.server.Admit(last), ErrBucketFull)
		time.Sleep(time.Minute)
		require.ElementsMatch(t, ids([]Contact{a, b}), ids(s.server.Contacts()))

		for range MaxFailures {
			s.server.table.Failed(a.ID)
		}
		require.Equal(t, ids([]Contact{b, last}), ids(s.server.Contacts()))
		require.True(t, s.server.Forget(b.ID))
		require.Equal(t, ids([]Contact{last, first}), ids(s.server.Contacts()))
	}, WithBucketSize(2))
}

// However many are turned away, the oldest is asked once at a time, and nobody
// else in the bucket is.
func TestOneChallengeAtATime(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer s.upkeep(unhurried).Close()
		oldest, second, witness := s.in(0, 1), s.in(0, 2), s.in(1, 1)
		asking := 0
		s.replies[oldest.ID] = func(ctx context.Context, m wire.Message) (wire.Message, error) {
			if asking++; asking > 1 {
				t.Error("asked twice at a time")
			}
			defer func() { asking-- }()
			return never(ctx, m)
		}
		s.know(oldest, second, witness)
		time.Sleep(time.Minute)
		for i := range 100 {
			require.ErrorIs(t, s.server.Admit(s.in(0, 10+i)), ErrBucketFull)
			time.Sleep(100 * time.Millisecond)
			_, waiting := s.server.table.oldest(0)
			require.LessOrEqual(t, len(waiting), maxWaiting)
		}
		time.Sleep(time.Minute)
		require.Len(t, s.questions(oldest, wire.TypePing), MaxFailures)
		require.Equal(t, ids([]Contact{second, s.in(0, 109)}), ids(s.server.Contacts())[:2], "who came last has the place")
	}, WithBucketSize(2))
}

// Contacts that have just spoken are not asked, however many come.
func TestNoChallengeOfTheLively(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer s.upkeep(unhurried).Close()
		s.know(s.in(0, 1), s.in(0, 2))
		for i := range 20 {
			require.ErrorIs(t, s.server.Admit(s.in(0, 10+i)), ErrBucketFull)
			time.Sleep(100 * time.Millisecond)
		}
		require.Empty(t, s.asked)
	}, WithBucketSize(2))
}

// An Erlang contact is in no lookup, so that nothing but PINGs speaks to it.
func TestSilentContactsAreAsked(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer s.upkeep().Close()
		erlang := s.erlangIn(0, 1)
		s.know(erlang)
		time.Sleep(DefaultIdle - time.Second)
		require.Empty(t, s.questions(erlang, wire.TypePing), "not yet")
		time.Sleep(DefaultIdle)
		require.Len(t, s.questions(erlang, wire.TypePing), 1)
		erlang.LastSeen = time.Now()
		s.know(erlang) // it speaks
		time.Sleep(DefaultIdle - time.Minute)
		require.Len(t, s.questions(erlang, wire.TypePing), 1, "not while it speaks by itself")
		time.Sleep(2 * time.Minute)
		require.Len(t, s.questions(erlang, wire.TypePing), 2)
	})
}

// Who has left a question unanswered is not waited for until it is idle.
func TestDoubtfulContactsAreAsked(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		defer s.upkeep().Close()
		erlang := s.erlangIn(0, 1)
		s.know(erlang)
		s.server.table.Failed(erlang.ID)
		time.Sleep(DefaultCheckInterval + time.Second)
		require.Len(t, s.questions(erlang, wire.TypePing), 1)
		require.Zero(t, s.failures(erlang))
	})
}

// Whom a lookup did not wait for, and so did not blame, is asked soon, though it
// spoke a moment ago.
func TestWhoKeptALookupWaitingIsAsked(t *testing.T) {
	play(t, 2*BucketSize, func(t *testing.T, s *script) {
		defer s.upkeep().Close()
		dead, late := s.peers[0], s.peers[1]
		s.replies[dead.ID] = never
		s.replies[late.ID] = after(2*DefaultSlow, names())
		for _, c := range s.peers {
			c.LastSeen = time.Now()
			s.know(c)
		}
		_, err := s.lookups().Nodes(t.Context(), s.target[:])
		require.NoError(t, err)
		require.Zero(t, s.failures(dead), "it is not blamed for the lookup")

		time.Sleep(5 * time.Minute)
		_, there := s.server.Contact(dead.ID)
		require.False(t, there)
		require.Len(t, s.server.Contacts(), 2*BucketSize-1, "who is only slow stays")
	})
}

func TestTheDeadLeave(t *testing.T) {
	const checks = MaxFailures + 1 // one may have gone by just before
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
				s.know(s.peers...)
				suspect := s.in(3, 1)
				if tt.erlang {
					suspect = s.erlangIn(3, 1)
				}
				s.know(suspect)
				if tt.reply != nil {
					s.replies[suspect.ID] = tt.reply
				}
				defer s.upkeep().Close()
				time.Sleep(DefaultIdle + checks*(DefaultCheckInterval+DefaultQueryTimeout))
				_, there := s.server.Contact(suspect.ID)
				require.Equal(t, tt.leaves, !there)
				for _, c := range s.peers {
					require.Zero(t, s.failures(c))
				}
				if there {
					require.Zero(t, s.failures(suspect))
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
				s.know(s.peers...)
				s.know(s.erlangIn(2, 1))
				defer s.upkeep().Close()
				time.Sleep(2 * time.Minute)
				back := s.other
				s.setOther(silence)
				time.Sleep(5 * time.Hour)
				require.Len(t, s.server.Contacts(), 31)
				for _, c := range s.server.Contacts() {
					require.Zero(t, c.failures)
				}
				s.mu.Lock()
				s.other = back
				s.replies[s.peers[0].ID] = silence
				s.mu.Unlock()
				time.Sleep(10 * time.Minute)
				require.Len(t, s.server.Contacts(), 30)
				require.NotContains(t, ids(s.server.Contacts()), s.peers[0].ID)
			})
		})
	}
}

func (s *script) setOther(r reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.other = r
}

// Contacts that speak all the time and answer nothing do not keep the dead in
// the table.
func TestTalkersDoNotShieldTheDead(t *testing.T) {
	play(t, 0, func(t *testing.T, s *script) {
		dead := s.erlangIn(0, 1) // in no lookup
		s.replies[dead.ID] = says(nil, proto.ErrUnreachable)
		s.know(dead)
		for i := range 3 {
			s.replies[s.in(10+i, i).ID] = says(nil, proto.ErrUnreachable)
		}
		defer s.upkeep().Close()
		for range 30 {
			for i := range 8 {
				s.know(s.in(1+i, i)) // they live
			}
			time.Sleep(time.Second)
			for i := range 3 {
				s.know(s.in(10+i, i))
			}
			time.Sleep(time.Minute)
		}
		require.NotContains(t, ids(s.server.Contacts()), dead.ID)
	})
}

// Closed at any moment, nothing is left of the upkeep.
func TestCloseAtAnyPoint(t *testing.T) {
	for seed := range uint64(60) {
		play(t, 60, func(t *testing.T, s *script) {
			rng := newRand(seed)
			replies := []reply{names(s.peers[:10]...), never, says(nil, proto.ErrUnreachable), after(3*time.Second, names())}
			for _, c := range s.peers {
				s.replies[c.ID] = after(time.Duration(rng.IntN(400))*time.Millisecond, replies[rng.IntN(len(replies))])
			}
			for i := range 40 {
				id := randomID(rng)
				require.NoError(t, s.server.Records().Store(context.Background(), records.Put{Key: id[:], Value: value(fmt.Sprint(i), 3000), TTL: time.Hour}))
			}
			u := s.upkeep(WithChecks(3*time.Second, 4*time.Second, time.Second), WithHandOver(time.Second, 1000))
			joined := make(chan struct{})
			go func() {
				defer close(joined)
				for _, c := range s.peers {
					_ = s.server.Admit(c)
					time.Sleep(200 * time.Millisecond)
				}
				_ = u.Join(t.Context())
			}()
			time.Sleep(time.Duration(rng.IntN(40_000)) * time.Millisecond)
			start := time.Now()
			u.Close()
			require.Zero(t, time.Since(start), "at once")
			synctest.Wait() // for Join
			s.mu.Lock()
			asked := len(s.asked)
			s.mu.Unlock()
			<-joined
			require.Len(t, s.asked, asked, "nobody is asked any more")
			u.Close() // again is no harm
		}, WithBucketSize(5))
	}
}

// In real time, with nobody to hide a goroutine.
func TestUpkeepLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for seed := range uint64(20) {
		server, err := NewServer(ID{}, WithBucketSize(5))
		require.NoError(t, err)
		require.NoError(t, server.Records().Store(context.Background(), records.Put{Key: []byte("a key"), Value: []byte("v")}))
		l, err := NewLookups(server, silentNetwork{}, WithTimeouts(time.Second, time.Millisecond, time.Minute))
		require.NoError(t, err)
		u, err := NewUpkeep(l, WithChecks(time.Millisecond, time.Millisecond, time.Millisecond), WithHandOver(time.Millisecond, 1000))
		require.NoError(t, err)
		for i := range 50 {
			_ = server.Admit(scriptPeer(i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(newRand(seed).IntN(5_000))*time.Microsecond)
		_ = u.Join(ctx)
		cancel()
		u.Close()
		require.NoError(t, server.Close())
		goleak.VerifyNone(t, before)
	}
}

// A table that nobody keeps does not gather news for ever.
func TestNewsAreBounded(t *testing.T) {
	table := NewTable(ID{}, 1)
	rng := newRand(11)
	for range 2 * maxNews {
		c := libp2pContact(randomID(rng), "p")
		if table.Add(c) == nil {
			table.Remove(c.ID)
		}
	}
	require.LessOrEqual(t, len(table.news.joined), maxNews)
	require.LessOrEqual(t, len(table.news.full), IDBits)
}

func TestNews(t *testing.T) {
	erlang := erlangContact(ID{1}, "https://192.0.2.1:1")
	tests := map[string]struct {
		there, add []Contact
		joined     []ID
		full       []int
	}{
		"a new contact":                   {nil, []Contact{libp2pContact(ID{1}, "p")}, []ID{{1}}, nil},
		"one that speaks again":           {[]Contact{libp2pContact(ID{1}, "p")}, []Contact{libp2pContact(ID{1}, "p")}, nil, nil},
		"an unverified one":               {nil, []Contact{{ID: ID{1}, Peer: "p"}}, nil, nil},
		"which is verified later":         {[]Contact{{ID: ID{1}, Peer: "p"}}, []Contact{libp2pContact(ID{1}, "p")}, []ID{{1}}, nil},
		"a peer whose id another claimed": {[]Contact{erlang}, []Contact{libp2pContact(ID{1}, "p")}, []ID{{1}}, nil},
		"a full bucket": {[]Contact{libp2pContact(ID{0x80}, "p"), libp2pContact(ID{0x81}, "q")},
			[]Contact{libp2pContact(ID{0x82}, "r"), libp2pContact(ID{0x83}, "s")}, nil, []int{0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := NewTable(ID{}, 2)
			for _, c := range tt.there {
				require.NoError(t, table.Add(c))
			}
			table.takeNews()
			for _, c := range tt.add {
				_ = table.Add(c)
			}
			joined, full := table.takeNews()
			require.ElementsMatch(t, tt.joined, ids(joined))
			require.ElementsMatch(t, tt.full, full)
			joined, full = table.takeNews()
			require.Empty(t, joined, "once")
			require.Empty(t, full)
		})
	}
}
