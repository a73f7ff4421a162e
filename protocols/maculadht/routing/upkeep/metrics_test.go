package upkeep

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// traced counts what it is told.
type traced struct{ taken, refused atomic.Int64 }

func (m *traced) HandedOver(taken bool) {
	if taken {
		m.taken.Add(1)
	} else {
		m.refused.Add(1)
	}
}

func TestMetricsTracer(t *testing.T) {
	play(t, 1, func(t *testing.T, s *script) {
		m := &traced{}
		s.Know(s.Peers...)
		newcomer, _ := fill(s, 10)
		s.Replies[newcomer.ID] = everyNth(5, says(nil, &proto.RemoteError{Code: wire.CodeBusy}), after(0, names()))
		u := startUpkeep(s, WithMetricsTracer(m))
		defer u.Close()
		s.Know(newcomer)
		time.Sleep(settle)
		require.EqualValues(t, 8+10, m.taken.Load(), "the newcomer's, and the one that was there")
		require.EqualValues(t, 2, m.refused.Load())
		require.Equal(t, Stats{HandedOver: 18, HandOverFailures: 2}, u.Stats())
	})
}
