package conns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

// rig is a manager over a resource manager that allows everything.
type rig struct {
	*Manager
	t *testing.T

	mu   sync.Mutex
	left []string // whose connections gave way
}

func newRig(t *testing.T, limits Limits) *rig {
	t.Helper()
	pool, err := NewPool(limits)
	require.NoError(t, err)
	r := &rig{t: t, Manager: NewManager(&network.NullResourceManager{}, pool)}
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// connect makes a connection of a peer, which ends when it is to give way.
func (r *rig) connect(id, ip string) network.ConnManagementScope {
	r.t.Helper()
	scope, err := r.OpenConnection(network.DirInbound, false, ma.StringCast("/ip4/"+ip+"/udp/1/quic-v1"))
	require.NoError(r.t, err)
	require.NoError(r.t, scope.SetPeer(peer.ID(id)))
	Bind(scope, func() {
		scope.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.left = append(r.left, id)
	})
	return scope
}

// gone returns whose connections have given way since it was called last.
func (r *rig) gone() []string {
	r.pool.closing.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := r.left
	r.left = nil
	return gone
}

const (
	room  = MinMemory / ConnCost              // connections that there is room for
	spare = MinMemory % ConnCost / StreamCost // streams, beside as many connections
)

func TestTheHeaviestGivesWay(t *testing.T) {
	r := newRig(t, Limits{Memory: MinMemory})
	r.connect("alice", "8.8.8.8")
	for i := range room - 11 {
		r.connect(fmt.Sprint("hoarder", i), "9.9.9.9")
	}
	for i := range 10 {
		r.connect(fmt.Sprint("neighbour", i), "9.9.9.10")
	}
	require.Empty(t, r.gone(), "there is room")
	r.connect("bob", "7.7.7.7")
	require.Equal(t, []string{"hoarder0"}, r.gone(), "of the heaviest address of the heaviest group the one idle for longest")
	r.connect("hoarder0", "9.9.9.9")
	require.Equal(t, []string{"hoarder1"}, r.gone(), "who comes is let in, and pushes out its own")

	for range spare {
		_, err := r.OpenStream("hoarder2", network.DirInbound)
		require.NoError(t, err)
	}
	require.Empty(t, r.gone())
	s, err := r.OpenStream("hoarder2", network.DirInbound)
	require.NoError(t, err)
	require.Equal(t, []string{"hoarder3"}, r.gone(), "a stream costs too, and who has a few is no heavier than who has none")
	s.Done()
	require.Equal(t, room-1, r.pool.Stats().Conns)
}

// Of one address the peer goes that has much, however much it does.
func TestTheHeaviestOfAnAddress(t *testing.T) {
	r := newRig(t, Limits{Memory: MinMemory})
	for i := range room / 2 {
		r.connect(fmt.Sprint("idle", i), "9.9.9.9")
	}
	r.connect("hog", "9.9.9.9")
	for range Allowance/StreamCost + 1 {
		_, err := r.OpenStream("hog", network.DirInbound)
		require.NoError(t, err)
	}
	require.Empty(t, r.gone(), "there is room")
	for i := range room / 2 {
		r.connect(fmt.Sprint("more", i), "9.9.9.9")
	}
	require.Equal(t, []string{"hog"}, r.gone())
}

// Those who can not be closed keep nobody else from giving way.
func TestAGroupThatCanNotBeClosed(t *testing.T) {
	const most = room * 2 / 3
	r := newRig(t, Limits{Memory: MinMemory})
	for i := range most {
		scope, err := r.OpenConnection(network.DirInbound, false, ma.StringCast("/ip4/9.9.9.9/udp/1/quic-v1/p2p-circuit"))
		require.NoError(t, err)
		require.NoError(t, scope.SetPeer(peer.ID(fmt.Sprint(i))))
		defer scope.Done()
	}
	for i := range room {
		r.connect(fmt.Sprint("other", i), "8.8.8.8")
	}
	require.Len(t, r.gone(), most)
}

// Nobody who has little gives way to somebody who has much.
func TestMuchOnOneConnection(t *testing.T) {
	r := newRig(t, Limits{Memory: MinMemory, Buffered: Allowance})
	for i := range room / 2 {
		r.connect(fmt.Sprint("small", i), fmt.Sprintf("8.8.%d.8", i))
	}
	hog := r.connect("hog", "9.9.9.9")
	Bind(hog, func() { r.left = append(r.left, "hog") }) // as long as it has not ended
	require.NoError(t, hog.ReserveMemory(Allowance, 255))
	require.Empty(t, r.gone())
	one, err := r.OpenStream("small1", network.DirInbound)
	require.NoError(t, err)
	require.NoError(t, one.ReserveMemory(1, 255))
	require.Equal(t, []string{"hog"}, r.gone())
	require.EqualValues(t, 1, r.pool.Stats().Buffered, "what it had is nobody's any more")
	require.ErrorIs(t, hog.ReserveMemory(1, 255), ErrGaveWay)
	require.ErrorIs(t, ErrGaveWay, network.ErrResourceLimitExceeded)
	one.Done()
}

// Where all have little the one goes that was idle for longest.
func TestTheIdlestGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Limits{Memory: MinMemory})
		for i := range room {
			r.connect(fmt.Sprint(i), fmt.Sprintf("8.8.%d.8", i))
			time.Sleep(time.Second)
		}
		for range spare + 1 {
			_, err := r.OpenStream("0", network.DirInbound)
			require.NoError(t, err)
		}
		require.Equal(t, []string{"1"}, r.gone())
		s, err := r.OpenStream("2", network.DirInbound)
		require.NoError(t, err)
		s.Done()
		require.Empty(t, r.gone())
		r.connect("newcomer", "7.7.7.7")
		r.connect("another", "7.7.6.7")
		require.ElementsMatch(t, []string{"3", "4"}, r.gone())
	})
}

// A connection that gave way before it was known how to close it is closed then.
func TestGivesWayBeforeItIsBound(t *testing.T) {
	r := newRig(t, Limits{Memory: MinMemory})
	open := func(ip string) network.ConnManagementScope {
		scope, err := r.OpenConnection(network.DirInbound, false, ma.StringCast("/ip4/"+ip+"/udp/1/quic-v1"))
		require.NoError(t, err)
		require.NoError(t, scope.SetPeer("twice"))
		return scope
	}
	r.connect("twice", "9.9.9.9")
	late := open("9.9.9.9")
	for i := range room - 1 {
		r.connect(fmt.Sprint(i), fmt.Sprintf("8.8.%d.8", i))
	}
	require.Equal(t, []string{"twice"}, r.gone())
	Bind(late, func() { late.Done(); r.left = append(r.left, "late") })
	require.Equal(t, []string{"late"}, r.gone())
}

// Where memory is short an eighth goes, of those that have most.
func TestRelieve(t *testing.T) {
	r := newRig(t, Limits{Memory: MinMemory})
	for i := range 10 {
		r.connect(fmt.Sprint("small", i), fmt.Sprintf("8.8.%d.8", i))
	}
	for i := range 30 {
		r.connect(fmt.Sprint("much", i), "9.9.9.9")
	}
	require.Equal(t, 5, r.pool.relieve())
	gone := r.gone()
	require.Len(t, gone, 5)
	for _, id := range gone {
		require.Contains(t, id, "much")
	}
	require.Equal(t, 35, r.pool.Stats().Conns)
}

// What cannot be closed, such as a relayed connection, stays.
func TestWhatCanNotBeClosedStays(t *testing.T) {
	r := newRig(t, Limits{Memory: MinMemory})
	for i := range 2 * room {
		scope, err := r.OpenConnection(network.DirInbound, false, ma.StringCast("/ip4/9.9.9.9/udp/1/quic-v1/p2p-circuit"))
		require.NoError(t, err)
		require.NoError(t, scope.SetPeer(peer.ID(fmt.Sprint(i))))
		defer scope.Done()
	}
	require.Empty(t, r.gone())
	require.Equal(t, 2*room, r.pool.Stats().Conns)
}

func TestEverywhere(t *testing.T) {
	for everywhere, groups := range map[bool]int{false: 3, true: 2} {
		r := newRig(t, Limits{Everywhere: everywhere})
		r.connect("a", "127.0.0.1")
		r.connect("b", "127.0.0.2")
		r.connect("c", "127.0.1.1")
		require.Equal(t, groups, r.pool.Stats().Groups)
	}
}

func TestLimitsThatMakeNoSense(t *testing.T) {
	for _, l := range []Limits{{Memory: 1}, {Memory: -1}, {Buffered: 1}, {Handshakes: -1}, {Unproved: -1}, {PerSecond: -1}} {
		_, err := NewPool(l)
		require.ErrorContains(t, err, "connections", "%+v", l)
	}
}

// Whatever many do at once, nothing is over the budget for long, and nothing is left.
func TestPoolFromManyGoroutines(t *testing.T) {
	r := newRig(t, Limits{Memory: MinMemory, Buffered: Allowance})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 300 {
				id := fmt.Sprint(rng.IntN(100))
				conn := r.connect(id, fmt.Sprintf("9.9.%d.%d", rng.IntN(10), 1+rng.IntN(9)))
				stream, err := r.OpenStream(peer.ID(id), network.DirInbound)
				if err != nil {
					t.Error(err)
					return
				}
				for _, scope := range []network.ResourceScope{conn, stream} {
					size := rng.IntN(100 << 10)
					if scope.ReserveMemory(size, 255) == nil && rng.IntN(2) == 0 {
						scope.ReleaseMemory(size)
					}
				}
				if s := r.pool.Stats(); s.Memory > MinMemory || s.Buffered > Allowance {
					t.Errorf("over the budget: %+v", s)
				}
				stream.Done()
				if rng.IntN(3) > 0 {
					conn.Done()
				}
			}
		})
	}
	wg.Wait()
	for i := range 100 {
		if h := r.pool.holder(peer.ID(fmt.Sprint(i))); h != nil {
			for c := range h.conns {
				r.pool.drop(c)
			}
		}
	}
	r.gone()
	s := r.pool.Stats()
	require.Zero(t, s.Conns+s.Peers+s.Groups)
	require.Zero(t, s.Memory+s.Buffered)
}

func TestNetworks(t *testing.T) {
	for ip, want := range map[string][2]string{
		"8.8.8.8":            {"8.8.8.8/32", "8.8.8.0/24"},
		"::ffff:8.8.8.8":     {"8.8.8.8/32", "8.8.8.0/24"},
		"2a00:1450:1:2::200": {"2a00:1450:1:2::/64", "2a00:1450:1::/48"},
		"10.1.2.3":           {"10.1.2.3/32", "10.1.2.3/32"},
		"fe80::1%eth0":       {"fe80::/64", "fe80::/64"},
	} {
		source, group := Limits{}.networks(netip.MustParseAddr(ip))
		require.Equal(t, want, [2]string{source.String(), group.String()}, ip)
	}
}
