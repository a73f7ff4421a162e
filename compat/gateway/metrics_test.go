package gateway

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
)

// tracer counts what it is told.
type tracer struct {
	mu   sync.Mutex
	told map[string]int
}

func (t *tracer) note(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told == nil {
		t.told = make(map[string]int)
	}
	t.told[what]++
}

func (t *tracer) count(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told[what]
}

func (t *tracer) ConnectionOpened()                 { t.note("opened") }
func (t *tracer) ConnectionClosed(d time.Duration)  { t.lasted("closed", d) }
func (t *tracer) ConnectionRefused(r RefusalReason) { t.note(string(r)) }
func (t *tracer) SessionBegun()                     { t.note("begun") }
func (t *tracer) SessionEnded(d time.Duration)      { t.lasted("ended", d) }

func (t *tracer) lasted(what string, d time.Duration) {
	if d > 0 && d < compattest.Patience {
		t.note(what)
	}
}

func TestMetricsTracer(t *testing.T) {
	var told tracer
	door := &doorman{accepts: true, secures: true}
	d := openGateway(t, WithMetricsTracer(&told), WithConnectionGater(door))
	guest, asker := dialGateway(t, d.addr), dialGateway(t, d.addr)
	asker.open().ask(&wire.Ping{})
	s := guest.open()
	s.connect("a node", "")
	s.connect("the same node", "") // on the same connection: one session
	door.set(false, false)
	<-dialGateway(t, d.addr).Context().Done()
	require.Equal(t, 2, told.count("opened"))
	compattest.Eventually(t, func() bool { return told.count(string(RefusedGated)) == 1 }, "who was gated is told")
	require.Equal(t, 1, told.count("begun"))
	require.Zero(t, told.count("ended"))
	require.Zero(t, told.count("closed"))

	guest.CloseWithError(0, "")
	compattest.Eventually(t, func() bool { return told.count("closed") == 1 }, "the connection is closed")
	require.Equal(t, 1, told.count("ended"), "and its session with it")
	compattest.RequireCloses(t, d.Close)
	require.Equal(t, map[string]int{"opened": 2, "closed": 2, "begun": 1, "ended": 1, string(RefusedGated): 1}, told.told)
	_, err := New(newHandlers(t), WithMetricsTracer(nil))
	require.ErrorContains(t, err, "no metrics tracer")
}
