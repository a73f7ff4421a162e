package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

const (
	patience = 10 * time.Second
	tick     = 5 * time.Millisecond
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a service whose advertisements are counted, and may fail.
type network struct {
	*maculadht.Service

	mu    sync.Mutex
	fails int
	told  map[string]int
}

func (n *network) advertise(ctx context.Context, name string) (*maculadht.Advertisement, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails > 0 {
		n.fails--
		return nil, errors.New("no")
	}
	n.told[name]++
	return n.AdvertiseSubscription(ctx, name)
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	s, err := maculadht.New(h)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &network{Service: s, told: make(map[string]int)}
}

func announcer(t *testing.T, n *network, names, perSource int) *Announcer {
	t.Helper()
	a := New(Config{Advertise: n.advertise, Names: names, NamesPerSource: perSource, Rate: 1000, Burst: 1000, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(a.Close)
	return a
}

func (n *network) stands(t *testing.T, records int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(n.Advertisements()) == records }, patience, tick, "%d records", records)
}

// A name is told once, however many want it, until none does; and again when one does.
func TestWantAndUnwant(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a := announcer(t, n, 10, 10)
	first, ok := a.Want("a", "x")
	require.True(t, ok)
	second, ok := a.Want("a", "")
	require.True(t, ok)
	n.stands(t, 1)
	a.Unwant(first)
	a.Unwant(nil)
	require.Equal(t, 1, a.Len())
	a.Unwant(second)
	n.stands(t, 0)
	require.Eventually(t, func() bool { return a.Len() == 0 }, patience, tick, "nothing is kept of it")
	_, ok = a.Want("a", "x")
	require.True(t, ok)
	n.stands(t, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Equal(t, map[string]int{"a": 2}, n.told)
}

// Names are bounded, for each source and in all; this program pays as no source.
func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a := announcer(t, n, 5, 2)
	var wanted []*Wanted
	for i := range 2 {
		w, ok := a.Want(fmt.Sprint(i), "x")
		require.True(t, ok)
		wanted = append(wanted, w)
	}
	_, ok := a.Want("2", "x")
	require.False(t, ok, "a third of one source")
	_, ok = a.Want("1", "x")
	require.True(t, ok, "one that it has")
	for i := range 3 {
		_, ok = a.Want(fmt.Sprint("own", i), "")
		require.True(t, ok)
	}
	_, ok = a.Want("another", "y")
	require.False(t, ok, "a sixth of all")
	a.Unwant(wanted[0])
	require.Eventually(t, func() bool { return a.Len() == 4 }, patience, tick)
	_, ok = a.Want("another", "x")
	require.True(t, ok)
}

// What could not be told is tried again, and what was told is withdrawn at the end.
func TestFailuresAndTheEnd(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.fails = 1
	a := announcer(t, n, 10, 10)
	w, ok := a.Want("a", "")
	require.True(t, ok)
	n.stands(t, 1)
	a.Close()
	n.stands(t, 0)
	_, ok = a.Want("b", "")
	require.False(t, ok)
	a.Unwant(w)
	select {
	case <-w.Told():
		t.Fatal("nobody else was there")
	default:
	}
}
