package maculadht

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// What peers' PONGs tell of their clocks tells whether this machine's is right.
func TestClocksOfPeers(t *testing.T) {
	a := dhttest.Host(t)
	s := newService(t, a)
	for _, behind := range []time.Duration{time.Hour, time.Hour, 0} {
		b := dhttest.Host(t)
		dhttest.Script(t, b, func(_ int, s *dhttest.Scripted) {
			if _, ok := s.Next().(*wire.Connect); ok {
				s.Reply(&wire.Pong{NodeID: dhttest.NodeID(b), RealmID: proto.DefaultRealm, ServerTime: wire.Some(time.Now().Add(-behind).UnixMilli())})
			}
			s.Next()
		})
		dhttest.Connect(t, a, b)
	}
	eventually(t, func() bool { _, voices := s.ClockAhead(); return voices == 3 }, "all have told")
	ahead, _ := s.ClockAhead()
	require.InDelta(t, time.Hour, ahead, float64(time.Minute))
}
