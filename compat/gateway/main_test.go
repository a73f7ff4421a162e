package gateway

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // what runs in parallel waits rather than computes; -parallel has its way
	goleak.VerifyTestMain(m)
}

// newDialer returns a dialer that is closed, in time, when the test ends.
func newDialer(tb testing.TB, opts ...dialer.Option) *dialer.Dialer {
	tb.Helper()
	d, err := dialer.New(opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() { compattest.RequireCloses(tb, d.Close) })
	return d
}
