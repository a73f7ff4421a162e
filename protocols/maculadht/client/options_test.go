package client

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestNewRefuses(t *testing.T) {
	for name, opt := range map[string]Option{
		"nil":         nil,
		"no limits":   WithLimits(Limits{}),
		"no streams":  WithLimits(Limits{Pipeline: 1, Timeout: time.Second}),
		"no pipeline": WithLimits(Limits{Streams: 1, Timeout: time.Second}),
		"no time":     WithLimits(Limits{Streams: 1, Pipeline: 1}),
		"no tracer":   WithMetricsTracer(nil),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(dhttest.Host(t), opt)
			require.ErrorContains(t, err, "client: ")
		})
	}
}

// told counts what a tracer is told.
type told struct {
	mu       sync.Mutex
	requests map[string]int
	streams  map[proto.Result]int
}

func (m *told) RequestDone(t wire.Type, r proto.Result, waited time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if waited > 0 {
		m.requests[t.String()+" "+string(r)]++
	}
}

func (m *told) StreamDone(r proto.Result, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if took > 0 {
		m.streams[r]++
	}
}

func TestMetricsTracer(t *testing.T) {
	srv, nobody := dhttest.Host(t), dhttest.Host(t)
	serve(t, srv)
	seen := &told{requests: make(map[string]int), streams: make(map[proto.Result]int)}
	c := newClient(t, dhttest.Host(t), WithMetricsTracer(seen))
	ctx, to := dhttest.Context(t), dhttest.Contact(srv)
	for range 2 {
		_, err := Ping(ctx, c, to)
		require.NoError(t, err)
	}
	require.NoError(t, c.Send(ctx, to, &wire.Store{Key: []byte("k"), Value: dhttest.Value("me")}))
	require.ErrorIs(t, c.Send(ctx, to, &wire.Ping{}), proto.ErrInvalidRequest)
	require.ErrorIs(t, Put(ctx, c, to, procedures.StoreArgs{Key: []byte("k"), Value: dhttest.Value("me"), ExpiresIn: wire.Some[int64](-1)}), proto.ErrRemote)
	_, err := Ping(ctx, c, dhttest.Contact(nobody))
	require.ErrorIs(t, err, proto.ErrRefused)
	_, err = Ping(ctx, c, routing.Contact{Peer: dhttest.PeerID(t)})
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.Equal(t, map[string]int{"ping ok": 2, "store ok": 1, "ping invalid": 1, "call remote": 1, "ping refused": 1, "ping unreachable": 1}, seen.requests)
	require.Equal(t, map[proto.Result]int{proto.ResultOK: 2, proto.ResultRefused: 1, proto.ResultUnreachable: 1}, seen.streams)
}
