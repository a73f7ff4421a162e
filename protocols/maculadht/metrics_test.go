package maculadht

import (
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

// told counts what a tracer is told.
type told struct {
	mu     sync.Mutex
	counts map[string]int
}

func (m *told) note(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = make(map[string]int)
	}
	m.counts[what]++
}

func (m *told) count(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[what]
}

func (m *told) PeerCame() { m.note("came") }

func (m *told) PeerLeft(after time.Duration) {
	if after > 0 {
		m.note("left")
	}
}

func (m *told) Joined(peers int) {
	if peers == 1 {
		m.note("joined")
	}
}

func (m *told) Published(acknowledged int, err error) {
	if err == nil && acknowledged == 1 {
		m.note("published")
	}
}

func TestMetricsTracer(t *testing.T) {
	first, second := dhttest.Host(t), dhttest.Host(t)
	newService(t, first)
	var seen told
	s := newService(t, second, WithMetricsTracer(&seen))
	require.NoError(t, s.Join(t.Context(), peer.AddrInfo{ID: first.ID(), Addrs: first.Addrs()}))
	eventually(t, func() bool { return seen.count("joined") == 1 }, "joined")
	require.Equal(t, 1, seen.count("came"))
	a, err := s.AdvertiseService(t.Context(), Offer{Name: "greeter", Endpoint: "https://127.0.0.1:8080"})
	require.NoError(t, err)
	eventually(t, func() bool { return seen.count("published") == 1 }, "published")
	a.Withdraw()
	require.Zero(t, seen.count("left"))
	require.NoError(t, first.Close())
	eventually(t, func() bool { return seen.count("left") == 1 }, "left")
}
