package doctor_test

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/doctor"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // what runs in parallel waits rather than computes; -parallel has its way
	goleak.VerifyTestMain(m)
}

const (
	patience = 20 * time.Second // for what must come
	tick     = 5 * time.Millisecond
	soon     = 500 * time.Millisecond // a time that a test waits for

	realm = "be.cortexiq.test" // of the recordings
)

// start starts a double that is registered with itself at once, unless opts say
// otherwise.
func start(tb testing.TB, opts ...glass.Option) *glass.Gateway {
	tb.Helper()
	g, err := glass.Start(append([]glass.Option{glass.Realm(realm), glass.RegisterAfter(0)}, opts...)...)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return g
}

// examine has an endpoint looked at through a dialer that is closed then.
func examine(tb testing.TB, endpoint string, opts ...doctor.Option) *doctor.Report {
	tb.Helper()
	return examineWithin(tb, tb.Context(), endpoint, patience, patience, opts...)
}

// examineWithin is examine with how long a handshake and a reply may take.
func examineWithin(tb testing.TB, ctx context.Context, endpoint string, dial, reply time.Duration, opts ...doctor.Option) *doctor.Report {
	tb.Helper()
	limits := dialer.DefaultLimits()
	limits.DialTimeout, limits.ReplyTimeout = dial, reply
	d, err := dialer.New(dialer.WithLimits(limits))
	require.NoError(tb, err)
	r, err := doctor.Examine(ctx, d, endpoint, opts...)
	require.NoError(tb, err)
	require.NoError(tb, d.Close())
	return r
}

// requireUnharmed wants a gateway that nothing has broken, that was treated with
// care, and that has nobody connected any more.
func requireUnharmed(tb testing.TB, g *glass.Gateway) {
	tb.Helper()
	require.Eventually(tb, func() bool { return g.Stats().Open == 0 }, patience, tick, "its connections are closed")
	require.Empty(tb, g.Broken())
	require.Empty(tb, g.Lapses())
	require.Empty(tb, g.Lost())
}

// of returns the checks whose names begin with name, of which there is one.
func of(tb testing.TB, r *doctor.Report, name string) doctor.Check {
	tb.Helper()
	var found []doctor.Check
	for _, c := range r.Checks {
		if strings.HasPrefix(c.Name, name) {
			found = append(found, c)
		}
	}
	require.Len(tb, found, 1, "%s in\n%s", name, r)
	return found[0]
}

// names returns the names of the checks with a result.
func names(r *doctor.Report, result doctor.Result) (names []string) {
	for _, c := range r.Checks {
		if c.Result == result {
			names = append(names, c.Name)
		}
	}
	return names
}

func value(nodeID string) wire.Raw {
	return wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText(nodeID)},
		wire.Pair{Key: "endpoint", Value: wire.RawText("https://127.0.0.1:1")})
}
