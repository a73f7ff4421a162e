package publication

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newPublisher returns a publisher of a node that asks through n.
func newPublisher(t *testing.T, n routing.Network, opts ...routing.Option) *Publisher {
	t.Helper()
	srv, err := routing.NewServer(routing.IDFromBytes([]byte("self")), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	lookups, err := lookup.New(srv, n)
	require.NoError(t, err)
	p, err := New(Config{Routing: srv, Lookups: lookups, Network: n, Published: func(int, error) {}, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}
