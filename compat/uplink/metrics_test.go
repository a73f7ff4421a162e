package uplink

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// tracer notes what it is told of a gateway.
type tracer struct {
	tb      testing.TB
	gateway string

	mu   sync.Mutex
	told []string
}

func (t *tracer) note(gateway endpoints.Endpoint, lasted time.Duration, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if gateway.String() != t.gateway || lasted < 0 || lasted > compattest.Patience {
		t.tb.Errorf("%s after %v: %s", gateway, lasted, what)
	}
	t.told = append(t.told, what)
}

func (t *tracer) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.told)
}

func (t *tracer) Looked(gateway endpoints.Endpoint, r LookResult) {
	t.note(gateway, 0, "look "+string(r))
}
func (t *tracer) SessionUp(gateway endpoints.Endpoint) { t.note(gateway, 0, "up") }
func (t *tracer) SessionDown(gateway endpoints.Endpoint, lasted time.Duration, r DownReason) {
	t.note(gateway, lasted, "down "+string(r))
}

func TestMetricsTracer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind []glass.Option
		end  func(*testing.T, *glass.Gateway, *uplinked)
		want []string // of what it is told first
	}{
		"closed by us": {nil, func(_ *testing.T, _ *glass.Gateway, u *uplinked) { u.Close() },
			[]string{"look ok", "up", "down closed"}},
		"turned away": {nil, func(t *testing.T, g *glass.Gateway, _ *uplinked) {
			_, err := g.Push(&wire.Disconnect{Reason: "shutting_down"})
			require.NoError(t, err)
		}, []string{"look ok", "up", "down disconnected", "look ok", "up"}},
		"silent": {nil, func(t *testing.T, g *glass.Gateway, _ *uplinked) { t.Cleanup(g.HoldReplies(wire.TypePing)) },
			[]string{"look ok", "up", "down no_reply"}},
		"lost": {nil, func(_ *testing.T, g *glass.Gateway, _ *uplinked) { g.DropClients() },
			[]string{"look ok", "up", "down lost", "look ok", "up"}},
		"another realm": {[]glass.Option{glass.Realm("other")}, nil, []string{"look other_realm", "look other_realm"}},
		"not listed":    {[]glass.Option{glass.RegisterAfter(-1)}, nil, []string{"look unlisted", "look unlisted"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGlass(t, test.kind...)
			told := &tracer{tb: t, gateway: g.Endpoint()}
			u := newUplinked(t, []*glass.Gateway{g}, WithMetricsTracer(told))
			if test.end != nil {
				compattest.Eventually(t, u.has(1), "a session")
				test.end(t, g, u)
			}
			compattest.Eventually(t, func() bool { return len(told.all()) >= len(test.want) }, "all is told")
			require.Equal(t, test.want, told.all()[:len(test.want)])
		})
	}
	_, err := New(newDialer(t), newUplinked(t, nil).handlers, nil, WithMetricsTracer(nil))
	require.ErrorContains(t, err, "no metrics tracer")
}

func TestMetricsOfANodeThatIsListedNoMore(t *testing.T) {
	g := newGlass(t)
	told := &tracer{tb: t, gateway: g.Endpoint()}
	listable := make(chan bool, 1)
	listable <- true
	u := newUplinked(t, []*glass.Gateway{g}, WithMetricsTracer(told), WithListable(func() bool {
		l := <-listable
		listable <- l
		return l
	}))
	compattest.Eventually(t, u.has(1), "a session")
	<-listable
	listable <- false
	compattest.Eventually(t, func() bool { return slices.Contains(told.all(), fmt.Sprintf("down %s", DownUnlistable)) }, "the session is over")
}
