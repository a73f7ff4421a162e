package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/goleak"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A peer may send messages of any type, and kad-dht counts each under its number.
func TestKadMetricsAreBounded(t *testing.T) {
	r := prometheus.NewRegistry()
	p, err := kadProvider(r)
	require.NoError(t, err)
	messages, err := p.Meter("github.com/libp2p/go-libp2p-kad-dht").Int64Counter("rpc.inbound.messages", metric.WithUnit("{message}"))
	require.NoError(t, err)
	for i := range 1000 {
		messages.Add(t.Context(), 1, metric.WithAttributes(
			attribute.String("message_type", fmt.Sprint(i)), attribute.String("peer_id", fmt.Sprint(i)), attribute.String("instance_id", "0x1")))
	}
	messages.Add(t.Context(), 2, metric.WithAttributes(attribute.String("message_type", "FIND_NODE"), attribute.String("peer_id", "p")))
	all, err := r.Gather()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "kad_dht_rpc_inbound_messages_total", all[0].GetName())
	got := make(map[string]float64)
	for _, m := range all[0].GetMetric() {
		key := ""
		for _, l := range m.GetLabel() {
			key += l.GetName() + "=" + l.GetValue()
		}
		got[key] = m.GetCounter().GetValue()
	}
	require.Equal(t, map[string]float64{"": 1000, "message_type=FIND_NODE": 2}, got)
	require.NoError(t, p.Shutdown(t.Context()))
}

func TestTracesAreSent(t *testing.T) {
	came := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		came <- r.Method + " " + r.URL.Path + " " + fmt.Sprint(len(body) > 0)
	}))
	defer collector.Close()
	traces, err := NewTraces(t.Context(), collector.URL, "test", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, span := traces.Tracer("test").Start(t.Context(), "lookup")
	span.End()
	require.NoError(t, traces.Close())
	require.Equal(t, "POST /v1/traces true", <-came)
	for _, endpoint := range []string{"127.0.0.1:4318", "localhost", "grpc://127.0.0.1:4317", ":", "http://"} {
		_, err := NewTraces(t.Context(), endpoint, "test", slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, "want http://HOST:PORT", endpoint)
	}
}

func TestProfiles(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:6060", "localhost:6060", ":6060", "6060", ""} {
		_, err := ServeProfiles(addr, slog.New(slog.DiscardHandler))
		require.ErrorIs(t, err, ErrNotLoopback, addr)
	}
	p, err := ServeProfiles("127.0.0.1:0", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer p.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(path string, change func(*http.Request)) int {
		r, err := http.NewRequestWithContext(context.Background(), "GET", "http://"+p.Addr()+path, nil)
		require.NoError(t, err)
		change(r)
		reply, err := client.Do(r)
		require.NoError(t, err)
		defer reply.Body.Close()
		return reply.StatusCode
	}
	asIs := func(*http.Request) {}
	require.Equal(t, 200, ask("/debug/pprof/", asIs))
	require.Equal(t, 200, ask("/debug/pprof/goroutine?debug=1", asIs))
	require.Equal(t, 404, ask("/", asIs))
	require.Equal(t, 200, ask("/debug/pprof/", func(r *http.Request) { r.Host = "localhost:1" }))
	require.Equal(t, 403, ask("/debug/pprof/", func(r *http.Request) { r.Host = "rebound.example.org" }))
	require.Equal(t, 403, ask("/debug/pprof/", func(r *http.Request) { r.Header.Set("Origin", "https://example.org") }))
}

// What kad-dht does is told, though it made its meter before there was a provider.
func TestKadIsTold(t *testing.T) {
	r := prometheus.NewRegistry()
	require.NoError(t, KadMetrics(r))
	start := func(bootstrap ...peer.AddrInfo) host.Host {
		h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, h.Close()) })
		kad, err := dht.New(h, dht.Mode(dht.ModeServer), dht.BootstrapPeers(bootstrap...))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, kad.Close()) })
		return h
	}
	first := start()
	second := start(*host.InfoFromHost(first))
	require.NoError(t, second.Connect(t.Context(), *host.InfoFromHost(first)))
	require.Eventually(t, func() bool {
		all, err := r.Gather()
		require.NoError(t, err)
		return slices.ContainsFunc(all, func(f *dto.MetricFamily) bool {
			return f.GetName() == "kad_dht_rpc_inbound_messages_total" && f.GetMetric()[0].GetCounter().GetValue() > 0
		})
	}, 10*time.Second, 20*time.Millisecond)
}
