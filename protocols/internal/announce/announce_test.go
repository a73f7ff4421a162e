package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
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
	fails map[string]int // how often a name fails yet
	told  map[string]int
	order []string
}

func (n *network) advertise(ctx context.Context, name string) (*maculadht.Advertisement, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails[name] > 0 {
		n.fails[name]--
		return nil, errors.New("no")
	}
	n.told[name]++
	n.order = append(n.order, name)
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
	return &network{Service: s, fails: make(map[string]int), told: make(map[string]int)}
}

func announcer(t *testing.T, n *network, names, perSource int) *Announcer {
	t.Helper()
	return announcerAt(t, n, names, perSource, 1000, 1000)
}

func announcerAt(t *testing.T, n *network, names, perSource, rate, burst int) *Announcer {
	t.Helper()
	a := New(Config{Advertise: n.advertise, Names: names, NamesPerSource: perSource, Rate: rate, Burst: burst, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// of is a source by itself; own is this program.
func of(source string) fair.Payer { return fair.Payer{Source: budget.Source{Name: source}} }

var own fair.Payer

// want has a name wanted that there is room for.
func want(t *testing.T, a *Announcer, name string, by fair.Payer) *Wanted {
	t.Helper()
	w, ok := a.Want(name, by)
	require.True(t, ok, name)
	return w
}

// stand waits until just these names are told.
func (n *network) stand(t *testing.T, names ...string) {
	t.Helper()
	want := make(map[string]bool)
	for _, name := range names {
		want[string(provider.Key(name))] = true
	}
	require.Eventually(t, func() bool {
		got := make(map[string]bool)
		for _, s := range n.Advertisements() {
			got[string(s.Key)] = true
		}
		return maps.Equal(want, got)
	}, patience, tick, "%q", names)
}

// A name is told once, however many want it, until none does; and again when one does.
func TestWantAndUnwant(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a := announcer(t, n, 10, 10)
	first := want(t, a, "a", of("x"))
	second := want(t, a, "a", own)
	n.stand(t, "a")
	a.Unwant(first)
	a.Unwant(nil)
	require.Equal(t, 1, a.Len())
	a.Unwant(second)
	n.stand(t)
	require.Eventually(t, func() bool { return a.Len() == 0 }, patience, tick, "nothing is kept of it")
	want(t, a, "a", of("x"))
	n.stand(t, "a")
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Equal(t, map[string]int{"a": 2}, n.told)
}

// Of too many names those of who wants most give way, but for those that others want too;
// they are told when there is room again. A source may want so many, this program more.
func TestNamesAreShared(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a := announcer(t, n, 5, 6)
	var flood []*Wanted
	for _, name := range []string{"1", "2", "3", "4", "common"} {
		flood = append(flood, want(t, a, name, of("flood")))
	}
	n.stand(t, "1", "2", "3", "4", "common")
	untold, ok := a.Want("6", of("flood"))
	require.False(t, ok)
	require.NotNil(t, untold)
	nothing, ok := a.Want("7", of("flood"))
	require.False(t, ok)
	require.Nil(t, nothing, "a seventh of one source")
	common := want(t, a, "common", of("honest"))
	honest := want(t, a, "honest", of("honest"))
	n.stand(t, "1", "2", "3", "common", "honest")

	a.Unwant(common)
	a.Unwant(flood[0])
	n.stand(t, "2", "3", "common", "honest", "6")
	for _, w := range flood[1:] {
		a.Unwant(w)
	}
	n.stand(t, "6", "honest")
	a.Unwant(honest)
	a.Unwant(untold)
	require.Eventually(t, func() bool { return a.Len() == 0 }, patience, tick)
	for i := range 5 {
		want(t, a, fmt.Sprint("own", i), own)
	}
	require.Eventually(t, func() bool { return a.Len() == 5 }, patience, tick)
}

// Who changes what it wants all the time keeps nobody else waiting.
func TestTurns(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a := announcerAt(t, n, 1000, 1000, 20, 1)
	for i := range 500 {
		want(t, a, fmt.Sprint("flood", i), of("flood"))
	}
	want(t, a, "flood499", of("honest")) // the last of the flood's
	want(t, a, "honest", of("honest"))
	told := func(name string) func() bool {
		return func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.told[name] > 0
		}
	}
	require.Eventually(t, told("flood499"), patience, tick)
	require.Eventually(t, told("honest"), patience, tick)
	n.mu.Lock()
	defer n.mu.Unlock()
	require.LessOrEqual(t, len(n.order), 12)
}

// What is told and withdrawn again and again is so at the pace of all.
func TestChurn(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a := announcerAt(t, n, 10, 10, 20, 5)
	begun := time.Now()
	for range 1000 {
		a.Unwant(want(t, a, "a", of("x")))
	}
	w := want(t, a, "a", of("x"))
	n.stand(t, "a")
	a.Unwant(w)
	n.stand(t)
	n.mu.Lock()
	defer n.mu.Unlock()
	require.LessOrEqual(t, n.told["a"], 5+int(20*time.Since(begun).Seconds()))
}

// What can not be told is tried again, and holds nobody up.
func TestFailures(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a := announcer(t, n, 100, 100)
	n.fails["once"] = 1
	want(t, a, "once", own)
	for i := range 2 * announcers {
		name := fmt.Sprint("never ", i)
		n.mu.Lock()
		n.fails[name] = 1 << 30
		n.mu.Unlock()
		want(t, a, name, own)
	}
	begun := time.Now()
	want(t, a, "at once", own)
	n.stand(t, "at once")
	require.Less(t, time.Since(begun), againAfter)
	n.stand(t, "at once", "once")
}

// What was told is withdrawn at the end, with what else is to be.
func TestTheEnd(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a := announcer(t, n, 10, 10)
	w := want(t, a, "a", own)
	n.stand(t, "a")
	more, err := n.AdvertiseSubscription(t.Context(), "more")
	require.NoError(t, err)
	require.NoError(t, a.Close(more))
	n.stand(t)
	_, ok := a.Want("b", own)
	require.False(t, ok)
	a.Unwant(w)
	select {
	case <-w.Told():
		t.Fatal("nobody else was there")
	default:
	}
}
