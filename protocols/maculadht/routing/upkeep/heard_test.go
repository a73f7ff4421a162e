package upkeep

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Who was doubted, and dropped soon after, is taken back once it answers, however
// soon it is heard of.
func TestTheDroppedComeBack(t *testing.T) {
	for name, doubted := range map[string]bool{"doubted before": true, "not doubted before": false} {
		t.Run(name, func(t *testing.T) {
			play(t, 5, func(t *testing.T, s *script) {
				u := startUpkeep(s, unhurried)
				defer u.Close()
				s.Know(s.Peers...)
				c := s.Peers[0]
				s.Replies[c.ID] = says(nil, proto.ErrUnreachable)
				if doubted {
					s.Server.Table().Doubt(c.ID, time.Now())
					time.Sleep(time.Second)
				}
				for range routing.MaxFailures {
					time.Sleep(5 * time.Second)
					s.Server.Table().Failed(c.ID, time.Now())
				}
				require.NotContains(t, ids(s.Server.Contacts()), c.ID)
				s.Mu.Lock()
				delete(s.Replies, c.ID) // it answers from here on
				s.Mu.Unlock()
				u.Heard(c.ID)
				time.Sleep(time.Second)
				require.Contains(t, ids(s.Server.Contacts()), c.ID)
			})
		})
	}
}

// Whose connections end again and again is asked at once the first times, and from
// then on now and again.
func TestWhoIsDoubtedAgainIsAsked(t *testing.T) {
	play(t, 2, func(t *testing.T, s *script) {
		defer startUpkeep(s, WithChecks(time.Minute, 1000*time.Hour, DefaultRetry)).Close()
		s.Know(s.Peers...)
		c := s.Peers[0]
		doubt := func() { s.Server.Table().Doubt(c.ID, time.Now()) }
		for i := range checksAtOnce {
			time.Sleep(5 * time.Second)
			doubt()
			time.Sleep(time.Second)
			require.Len(t, s.Questions(c, wire.TypePing), i+1)
			require.True(t, confirmed(s, c))
		}
		for until := time.Now().Add(10 * time.Minute); time.Now().Before(until); time.Sleep(time.Second) {
			doubt()
		}
		require.LessOrEqual(t, len(s.Questions(c, wire.TypePing)), checksAtOnce+2*11)
		time.Sleep(5 * time.Minute) // it has calmed down
		before := len(s.Questions(c, wire.TypePing))
		doubt()
		time.Sleep(time.Second)
		require.Len(t, s.Questions(c, wire.TypePing), before+1)
	})
}

func confirmed(s *script, c routing.Contact) bool {
	known, there := s.Server.Contact(c.ID)
	return there && known.Confirmed()
}
