package admission

import (
	"log/slog"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/upkeep"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newAdmission follows the peers of a host, with all that it takes.
func newAdmission(t *testing.T, h host.Host) *Admission {
	t.Helper()
	srv, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	c, err := client.New(h)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	lookups, err := lookup.New(srv, c)
	require.NoError(t, err)
	u, err := upkeep.New(lookups)
	require.NoError(t, err)
	t.Cleanup(u.Close)
	mux, err := server.NewMux()
	require.NoError(t, err)
	handlers, err := dht.New(mux, srv, dht.WithAddrs(h.Addrs))
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	summary := logs.NewSummary(log, time.Minute)
	t.Cleanup(summary.Close)
	a, err := New(Config{Host: h, Client: c, Handlers: handlers, Upkeep: u, LookAgain: time.Minute, Log: log, Summary: summary,
		Came: func() {}, Left: func(time.Duration) {}})
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a
}
