package routing

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

func TestLookupOptions(t *testing.T) {
	tests := map[string]Option{
		"no alpha":          WithAlpha(0),
		"a negative quorum": WithQuorum(-1),
		"no query timeout":  WithTimeouts(0, 1, 1),
		"no slow timeout":   WithTimeouts(1, 0, 1),
		"no lookup timeout": WithTimeouts(1, 1, 0),
	}
	for name, opt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewLookups(newServer(t), nil, opt)
			require.Error(t, err)
		})
	}
}

func TestLookupHasAlphaInFlight(t *testing.T) {
	for _, alpha := range []int{1, 3, 7} {
		play(t, 40, func(t *testing.T, s *script) {
			s.know(s.peers...)
			_, err := s.lookups(WithAlpha(alpha)).Values(t.Context(), s.target[:])
			require.ErrorIs(t, err, records.ErrNotFound)
			require.Equal(t, alpha, s.most)
		})
	}
}

// Those who look for nodes ask the rest of the k nearest at once when they have
// heard the alpha nearest.
func TestLookupAsksTheRestAtOnce(t *testing.T) {
	for alpha, took := range map[int]time.Duration{1: 2 * scriptDelay, 3: 2 * scriptDelay, 7: 2 * scriptDelay, 30: scriptDelay} {
		play(t, 40, func(t *testing.T, s *script) {
			s.know(s.peers...)
			start := time.Now()
			found, err := s.lookups(WithAlpha(alpha)).Nodes(t.Context(), s.target[:])
			require.NoError(t, err)
			require.Equal(t, took, time.Since(start))
			require.Len(t, found.Hops, BucketSize)
			require.Equal(t, max(min(alpha, BucketSize), BucketSize-alpha), s.most)
		})
	}
}

// As long as they hear of nearer ones it is alpha at a time.
func TestLookupDrawsNearerAlphaAtATime(t *testing.T) {
	play(t, 60, func(t *testing.T, s *script) {
		s.know(s.peers[40:]...)
		s.replies[s.peers[40].ID] = after(scriptDelay, names(s.peers[20:40]...))
		s.replies[s.peers[20].ID] = after(scriptDelay, names(s.peers[:20]...))
		most := 0
		found, err := s.lookups(WithObserver(func(h Hop) {
			if h.Contact.ID == s.peers[20].ID {
				s.mu.Lock()
				defer s.mu.Unlock()
				most = s.most
			}
		})).Nodes(t.Context(), s.target[:])
		require.NoError(t, err)
		require.Equal(t, ids(s.peers[:BucketSize]), ids(found.Closest))
		require.Equal(t, DefaultAlpha, most)
	})
}

func TestLookupEndsWhenTheNearestHaveAnswered(t *testing.T) {
	tests := map[string]struct {
		known, dead int // of the nearest
		asked       int
	}{
		"nobody is known":         {0, 0, 0},
		"fewer than k":            {5, 0, 5},
		"k of many":               {60, 0, 20},
		"dead ones make room":     {60, 7, 27},
		"all but a few are dead":  {30, 28, 30},
		"all are dead, and known": {30, 30, 30},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 60, func(t *testing.T, s *script) {
				s.know(s.peers[:tt.known]...)
				for _, c := range s.peers[:tt.dead] {
					s.replies[c.ID] = says(nil, proto.ErrUnreachable)
				}
				found, err := s.lookups().Nodes(t.Context(), s.target[:])
				require.NoError(t, err)
				require.Equal(t, ids(s.peers[tt.dead:tt.asked]), ids(found.Closest))
				require.ElementsMatch(t, ids(s.peers[:tt.asked]), s.asked)
				require.Len(t, found.Hops, tt.asked)
			})
		})
	}
}

// Each contact names the next nearer one only.
func TestLookupFollowsWhatItIsTold(t *testing.T) {
	play(t, 8, func(t *testing.T, s *script) {
		s.know(s.peers[7])
		for i := 7; i > 0; i-- {
			s.replies[s.peers[i].ID] = names(s.peers[i-1])
		}
		var seen []Hop
		found, err := s.lookups(WithObserver(func(h Hop) { seen = append(seen, h) })).Nodes(t.Context(), s.target[:])
		require.NoError(t, err)
		require.Equal(t, ids(s.peers), ids(found.Closest))
		require.Equal(t, seen, found.Hops)
		for i, h := range found.Hops {
			require.Equal(t, i+1, h.Round)
			require.Equal(t, s.peers[7-i].ID, h.Contact.ID)
			require.NoError(t, h.Err)
		}
		require.Equal(t, 1, found.Hops[0].Nodes)
		require.Equal(t, scriptDelay, found.Hops[7].Took)
		require.Equal(t, []ID{s.peers[7].ID}, ids(s.server.Contacts()), "who is learnt of does not enter the table")
	})
}

func TestLookupTargetTooLong(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		s.know(s.peers...)
		_, err := s.lookups().Nodes(t.Context(), make([]byte, wire.MaxField+1))
		require.Error(t, err)
		require.Empty(t, s.asked, "and no contact is blamed for it")
	})
}

func TestSlowContacts(t *testing.T) {
	tests := map[string]struct {
		known   int
		slow    int // of the nearest
		reply   reply
		closest func(peers []Contact) []Contact
		within  time.Duration
	}{
		"a dead one holds one slot for a second": {
			40, 1, never, func(p []Contact) []Contact { return p[1:21] }, DefaultSlow + scriptDelay,
		},
		"three hold all slots for a second": {
			40, 3, never, func(p []Contact) []Contact { return p[3:23] }, DefaultSlow + 8*scriptDelay,
		},
		"nine for three": {
			40, 9, never, func(p []Contact) []Contact { return p[9:29] }, 3*DefaultSlow + 8*scriptDelay,
		},
		"a late answer counts while the lookup lasts": {
			40, 4, after(1500*time.Millisecond, names()), func(p []Contact) []Contact { return slices.Concat(p[:3], p[4:21]) }, 2*DefaultSlow + scriptDelay,
		},
		"where there is nobody else it is waited for": {
			5, 2, after(4*time.Second, names()), func(p []Contact) []Contact { return p[:5] }, 4 * time.Second,
		},
		"but not for ever": {
			5, 2, never, func(p []Contact) []Contact { return p[2:5] }, DefaultQueryTimeout,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 40, func(t *testing.T, s *script) {
				s.know(s.peers[:tt.known]...)
				for _, c := range s.peers[:tt.slow] {
					s.replies[c.ID] = tt.reply
				}
				start := time.Now()
				found, err := s.lookups().Nodes(t.Context(), s.target[:])
				require.NoError(t, err)
				require.LessOrEqual(t, time.Since(start), tt.within)
				require.Equal(t, ids(tt.closest(s.peers)), ids(found.Closest))
			})
		})
	}
}

func TestLookupDeadline(t *testing.T) {
	play(t, 60, func(t *testing.T, s *script) {
		s.know(s.peers...)
		s.other = never
		s.replies[s.peers[0].ID] = names()
		start := time.Now()
		found, err := s.lookups(WithTimeouts(5*time.Second, time.Second, 3*time.Second)).Nodes(t.Context(), s.target[:])
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, ids(s.peers[:1]), ids(found.Closest), "what was found is returned")
		for _, c := range s.peers {
			require.Zero(t, s.failures(c), "the lookup ended before they were late")
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
		"silent":            {never, 1},
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
				s.know(s.peers...)
				s.replies[s.peers[0].ID] = tt.reply
				found, err := s.lookups().Nodes(t.Context(), s.target[:])
				require.NoError(t, err)
				require.Equal(t, tt.failures, s.failures(s.peers[0]))
				require.Zero(t, s.failures(s.peers[1]))
				require.Equal(t, name == "good", slices.Contains(ids(found.Closest), s.peers[0].ID))
			})
		})
	}
	t.Run("the third in a row takes it out", func(t *testing.T) {
		play(t, 2, func(t *testing.T, s *script) {
			s.know(s.peers...)
			s.replies[s.peers[0].ID] = says(nil, proto.ErrUnreachable)
			for range MaxFailures {
				require.Len(t, s.server.Contacts(), 2)
				_, err := s.lookups().Nodes(t.Context(), s.target[:])
				require.NoError(t, err)
			}
			require.Equal(t, ids(s.peers[1:]), ids(s.server.Contacts()))
		})
	})
	t.Run("an answer makes good", func(t *testing.T) {
		play(t, 2, func(t *testing.T, s *script) {
			s.know(s.peers...)
			for _, r := range []reply{says(nil, proto.ErrUnreachable), says(nil, proto.ErrUnreachable), names(), says(nil, proto.ErrUnreachable)} {
				s.replies[s.peers[0].ID] = r
				_, err := s.lookups().Nodes(t.Context(), s.target[:])
				require.NoError(t, err)
			}
			require.Equal(t, 1, s.failures(s.peers[0]))
		})
	})
	t.Run("who is cut off blames nobody", func(t *testing.T) {
		play(t, 10, func(t *testing.T, s *script) {
			s.know(s.peers...)
			s.other = says(nil, proto.ErrUnreachable)
			_, err := s.lookups().Nodes(t.Context(), s.target[:])
			require.NoError(t, err)
			for _, c := range s.peers {
				require.Zero(t, s.failures(c))
			}
		})
	})
	t.Run("nor who gives up", func(t *testing.T) {
		play(t, 10, func(t *testing.T, s *script) {
			s.know(s.peers...)
			s.other = never
			s.replies[s.peers[0].ID] = names()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_, err := s.lookups().Nodes(ctx, s.target[:])
			require.ErrorIs(t, err, context.DeadlineExceeded)
			for _, c := range s.peers {
				require.Zero(t, s.failures(c))
			}
		})
	})
}

// A peer that was first named where it is not is asked again, once, where
// another says that it is.
func TestLookupTriesOtherAddresses(t *testing.T) {
	play(t, 3, func(t *testing.T, s *script) {
		near, liar, honest := s.peers[0], s.peers[1], s.peers[2]
		at := func(addr string) Contact {
			c := near
			c.Addrs = []ma.Multiaddr{ma.StringCast(addr)}
			return c
		}
		good := at("/ip4/8.8.8.2/udp/1/quic-v1")
		s.know(liar, honest)
		s.replies[liar.ID] = names(at("/ip4/8.8.8.1/udp/1/quic-v1"))
		s.replies[honest.ID] = after(time.Second/2, names(good))
		s.replies[near.ID] = says(nil, proto.ErrUnreachable)
		found, err := s.lookups().Nodes(t.Context(), s.target[:])
		require.NoError(t, err)
		require.Len(t, s.asked, 4)
		last := found.Hops[3].Contact
		require.Equal(t, near.ID, last.ID)
		require.Contains(t, last.Addrs, good.Addrs[0])
	})
}
