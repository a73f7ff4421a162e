package lookup

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestLookupOptions(t *testing.T) {
	tests := map[string]Option{
		"no alpha":          WithAlpha(0),
		"a negative quorum": WithQuorum(-1),
		"no draw":           WithDraw(nil),
		"no query timeout":  WithTimeouts(0, 1, 1),
		"no slow timeout":   WithTimeouts(1, 0, 1),
		"no lookup timeout": WithTimeouts(1, 1, 0),
		"no observer":       WithObserver(nil),
		"no tracer":         WithMetricsTracer(nil),
		"no provider":       WithTracerProvider(nil),
	}
	for name, opt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(routingtest.NewServer(t), nil, opt)
			require.Error(t, err)
		})
	}
}

func TestLookupHasAlphaInFlight(t *testing.T) {
	for _, alpha := range []int{1, 3, 7} {
		play(t, 40, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			_, err := lookups(s, WithAlpha(alpha)).Values(t.Context(), s.Target[:])
			require.ErrorIs(t, err, records.ErrNotFound)
			require.Equal(t, alpha, s.Most)
		})
	}
}

// Those who look for nodes ask the rest of the k nearest at once when they have
// heard the alpha nearest.
func TestLookupAsksTheRestAtOnce(t *testing.T) {
	for alpha, took := range map[int]time.Duration{1: 2 * routingtest.Delay, 3: 2 * routingtest.Delay, 7: 2 * routingtest.Delay, 30: routingtest.Delay} {
		play(t, 40, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			start := time.Now()
			found, err := lookups(s, WithAlpha(alpha)).Nodes(t.Context(), s.Target[:])
			require.NoError(t, err)
			require.Equal(t, took, time.Since(start))
			require.Len(t, found.Hops, routing.BucketSize)
			require.Equal(t, max(min(alpha, routing.BucketSize), routing.BucketSize-alpha), s.Most)
		})
	}
}

// As long as they hear of nearer ones it is alpha at a time.
func TestLookupDrawsNearerAlphaAtATime(t *testing.T) {
	play(t, 60, func(t *testing.T, s *script) {
		s.Know(s.Peers[40:]...)
		s.Replies[s.Peers[40].ID] = after(routingtest.Delay, names(s.Peers[20:40]...))
		s.Replies[s.Peers[20].ID] = after(routingtest.Delay, names(s.Peers[:20]...))
		most := 0
		found, err := lookups(s, WithObserver(func(h Hop) {
			if h.Contact.ID == s.Peers[20].ID {
				s.Mu.Lock()
				defer s.Mu.Unlock()
				most = s.Most
			}
		})).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Equal(t, ids(s.Peers[:routing.BucketSize]), ids(found.Closest))
		require.Equal(t, DefaultAlpha, most)
	})
}

func TestLookupEndsWhenTheNearestHaveAnswered(t *testing.T) {
	tests := map[string]struct {
		known, dead int // of the nearest
		asked       int
		err         error
	}{
		"nobody is known":         {0, 0, 0, ErrNoPeers},
		"fewer than k":            {5, 0, 5, nil},
		"k of many":               {60, 0, 20, nil},
		"dead ones make room":     {60, 7, 27, nil},
		"all but a few are dead":  {30, 28, 30, nil},
		"all are dead, and known": {30, 30, 30, ErrUnanswered},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 60, func(t *testing.T, s *script) {
				s.Know(s.Peers[:tt.known]...)
				for _, c := range s.Peers[:tt.dead] {
					s.Replies[c.ID] = says(nil, proto.ErrUnreachable)
				}
				found, err := lookups(s).Nodes(t.Context(), s.Target[:])
				require.ErrorIs(t, err, tt.err)
				require.Equal(t, ids(s.Peers[tt.dead:tt.asked]), ids(found.Closest))
				require.ElementsMatch(t, ids(s.Peers[:tt.asked]), s.Asked)
				require.Len(t, found.Hops, tt.asked)
			})
		})
	}
}

// Each contact names the next nearer one only.
func TestLookupFollowsWhatItIsTold(t *testing.T) {
	play(t, 8, func(t *testing.T, s *script) {
		s.Know(s.Peers[7])
		for i := 7; i > 0; i-- {
			s.Replies[s.Peers[i].ID] = names(s.Peers[i-1])
		}
		var seen []Hop
		found, err := lookups(s, WithObserver(func(h Hop) { seen = append(seen, h) })).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Equal(t, ids(s.Peers), ids(found.Closest))
		require.Equal(t, seen, found.Hops)
		for i, h := range found.Hops {
			require.Equal(t, i+1, h.Round)
			require.Equal(t, s.Peers[7-i].ID, h.Contact.ID)
			require.NoError(t, h.Err)
		}
		require.Equal(t, 1, found.Hops[0].Nodes)
		require.Equal(t, routingtest.Delay, found.Hops[7].Took)
		require.Equal(t, []routing.ID{s.Peers[7].ID}, ids(s.Server.Contacts()), "who is learnt of does not enter the table")
	})
}

func TestLookupTargetTooLong(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		_, err := lookups(s).Nodes(t.Context(), make([]byte, wire.MaxField+1))
		require.Error(t, err)
		require.Empty(t, s.Asked, "and no contact is blamed for it")
	})
}

func TestSlowContacts(t *testing.T) {
	tests := map[string]struct {
		known   int
		slow    int // of the nearest
		reply   reply
		closest func(peers []routing.Contact) []routing.Contact
		within  time.Duration
	}{
		"a dead one holds one slot for a second": {
			40, 1, never, func(p []routing.Contact) []routing.Contact { return p[1:21] }, DefaultSlow + routingtest.Delay,
		},
		"three hold all slots for a second": {
			40, 3, never, func(p []routing.Contact) []routing.Contact { return p[3:23] }, DefaultSlow + 8*routingtest.Delay,
		},
		"nine for three": {
			40, 9, never, func(p []routing.Contact) []routing.Contact { return p[9:29] }, 3*DefaultSlow + 8*routingtest.Delay,
		},
		"a late answer counts while the lookup lasts": {
			40, 4, after(1050*time.Millisecond, names()), func(p []routing.Contact) []routing.Contact { return slices.Concat(p[:3], p[4:21]) }, 2*DefaultSlow + routingtest.Delay,
		},
		"nor are they waited for longer where others are few": {
			5, 2, never, func(p []routing.Contact) []routing.Contact { return p[2:5] }, DefaultSlow + routingtest.Delay,
		},
		"four, of whom others tell that they take too long": {
			40, 4, never, func(p []routing.Contact) []routing.Contact { return p[4:24] }, DefaultSlow + leastSlot + 8*routingtest.Delay,
		},
		"where there is nobody else they are": {
			2, 2, after(4*time.Second, names()), func(p []routing.Contact) []routing.Contact { return p[:2] }, 4 * time.Second,
		},
		"nor are they slow where all take as long": {
			40, 40, after(1500*time.Millisecond, names()), func(p []routing.Contact) []routing.Contact { return p[:20] }, 8 * time.Second,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 40, func(t *testing.T, s *script) {
				s.Know(s.Peers[:tt.known]...)
				for _, c := range s.Peers[:tt.slow] {
					s.Replies[c.ID] = tt.reply
				}
				start := time.Now()
				found, err := lookups(s).Nodes(t.Context(), s.Target[:])
				require.NoError(t, err)
				require.LessOrEqual(t, time.Since(start), tt.within)
				require.Equal(t, ids(tt.closest(s.Peers)), ids(found.Closest))
			})
		})
	}
}

func TestLookupDeadline(t *testing.T) {
	play(t, 60, func(t *testing.T, s *script) {
		s.Know(s.Peers...)
		s.Other = never
		s.Replies[s.Peers[0].ID] = names()
		start := time.Now()
		found, err := lookups(s, WithTimeouts(5*time.Second, time.Second, 3*time.Second)).Nodes(t.Context(), s.Target[:])
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, ids(s.Peers[:1]), ids(found.Closest), "what was found is returned")
		for _, c := range s.Peers {
			require.Zero(t, s.Failures(c), "the lookup ended before they were late")
		}
	})
}

// What speaks against a contact, and what does not.
func TestFailuresAreNoted(t *testing.T) {
	ended := errors.New("an error on our side")
	tests := map[string]struct {
		reply    reply
		failures int
	}{
		"good":              {names(), 0},
		"unreachable":       {says(nil, proto.ErrUnreachable), 1},
		"silent":            {never, 0}, // so far it is only doubted
		"refuses":           {says(nil, &proto.RefusedError{Reason: "realm_mismatch"}), 1},
		"an error":          {says(nil, &proto.RemoteError{Code: "missing_target"}), 1},
		"an error in reply": {says(&wire.FindNodeReply{Reason: "missing_target"}, nil), 1},
		"busy":              {says(nil, &proto.RemoteError{Code: wire.ReasonBusy}), 0},
		"busy in reply":     {says(&wire.FindNodeReply{Reason: wire.ReasonBusy}, nil), 0},
		"our own error":     {says(nil, ended), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 2, func(t *testing.T, s *script) {
				s.Know(s.Peers...)
				s.Replies[s.Peers[0].ID] = tt.reply
				found, err := lookups(s).Nodes(t.Context(), s.Target[:])
				require.NoError(t, err)
				require.Equal(t, tt.failures, s.Failures(s.Peers[0]))
				require.Zero(t, s.Failures(s.Peers[1]))
				require.Equal(t, name == "good", slices.Contains(ids(found.Closest), s.Peers[0].ID))
			})
		})
	}
	t.Run("questions of the same time are one", func(t *testing.T) {
		play(t, 2, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			s.Replies[s.Peers[0].ID] = after(routingtest.Delay, says(nil, proto.ErrUnreachable))
			var wg sync.WaitGroup
			for range 2 * routing.MaxFailures {
				wg.Go(func() {
					_, err := lookups(s).Nodes(t.Context(), s.Target[:])
					require.NoError(t, err)
				})
				time.Sleep(time.Millisecond)
			}
			wg.Wait()
			require.Equal(t, 1, s.Failures(s.Peers[0]))
		})
	})
	t.Run("an answer makes good", func(t *testing.T) {
		play(t, 1, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			require.False(t, s.Server.Table().Failed(s.Peers[0].ID, time.Now()))
			_, err := lookups(s).Nodes(t.Context(), s.Target[:])
			require.NoError(t, err)
			require.Zero(t, s.Failures(s.Peers[0]))
		})
	})
	t.Run("not what was asked before it spoke again", func(t *testing.T) {
		play(t, 2, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			s.Replies[s.Peers[0].ID] = func(context.Context, wire.Message) (wire.Message, error) {
				time.Sleep(routingtest.Delay)
				back := s.Peers[0]
				back.LastSeen = time.Now()
				s.Know(back) // it was restarted, and has CONNECTed
				return nil, proto.ErrUnreachable
			}
			_, err := lookups(s).Nodes(t.Context(), s.Target[:])
			require.NoError(t, err)
			require.Zero(t, s.Failures(s.Peers[0]))
			c, _ := s.Server.Contact(s.Peers[0].ID)
			require.True(t, c.Confirmed())
		})
	})
	t.Run("who is cut off blames nobody", func(t *testing.T) {
		play(t, 10, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			s.Other = says(nil, proto.ErrUnreachable)
			_, err := lookups(s).Nodes(t.Context(), s.Target[:])
			require.ErrorIs(t, err, ErrUnanswered)
			for _, c := range s.Peers {
				require.Zero(t, s.Failures(c))
			}
		})
	})
	t.Run("nor who gives up", func(t *testing.T) {
		play(t, 10, func(t *testing.T, s *script) {
			s.Know(s.Peers...)
			s.Other = never
			s.Replies[s.Peers[0].ID] = names()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_, err := lookups(s).Nodes(ctx, s.Target[:])
			require.ErrorIs(t, err, context.DeadlineExceeded)
			for _, c := range s.Peers {
				require.Zero(t, s.Failures(c))
			}
		})
	})
}

// A peer that was first named where it is not is asked again, once, where
// another says that it is.
func TestLookupTriesOtherAddresses(t *testing.T) {
	play(t, 3, func(t *testing.T, s *script) {
		near, liar, honest := s.Peers[0], s.Peers[1], s.Peers[2]
		at := func(addr string) routing.Contact {
			c := near
			c.Addrs = []ma.Multiaddr{ma.StringCast(addr)}
			return c
		}
		good := at("/ip4/8.8.8.2/udp/1/quic-v1")
		s.Know(liar, honest)
		s.Replies[liar.ID] = names(at("/ip4/8.8.8.1/udp/1/quic-v1"))
		s.Replies[honest.ID] = after(time.Second/2, names(good))
		s.Replies[near.ID] = says(nil, proto.ErrUnreachable)
		found, err := lookups(s).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Len(t, s.Asked, 4)
		last := found.Hops[3].Contact
		require.Equal(t, near.ID, last.ID)
		require.Contains(t, last.Addrs, good.Addrs[0])
	})
}
