package conns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

func newHandshakesOf(t *testing.T, l Limits) *handshakes {
	t.Helper()
	l, err := l.withDefaults()
	require.NoError(t, err)
	return newHandshakes(l)
}

// fill begins as many handshakes from an address as may be.
func fill(t *testing.T, h *handshakes, ip string, proved bool) (n int) {
	t.Helper()
	for ; n < 1<<20; n++ {
		if _, err := h.begin(netip.MustParseAddr(ip), proved); err != nil {
			require.ErrorIs(t, err, network.ErrResourceLimitExceeded)
			return n
		}
	}
	return n
}

// However many networks there are that begin handshakes and end none, others may begin some.
func TestHandshakesLeaveRoom(t *testing.T) {
	for _, networks := range []int{1, 16, 100} {
		h := newHandshakesOf(t, Limits{PerSecond: 1e6})
		for i := range networks {
			fill(t, h, fmt.Sprintf("8.8.%d.8", i), true)
		}
		before, newcomers := h.all, 0
		for i := range 1000 {
			if _, err := h.begin(netip.AddrFrom4([4]byte{9, byte(i >> 8), byte(i), 9}), true); err == nil {
				newcomers++
			}
		}
		t.Logf("%d networks have %d under way: %d newcomers begin one", networks, before, newcomers)
		require.GreaterOrEqual(t, newcomers, 1024/4-networks)
	}
}

func TestHandshakesOfOneAddress(t *testing.T) {
	h := newHandshakesOf(t, Limits{PerSecond: 1e6})
	one := fill(t, h, "8.8.8.8", true)
	require.InDelta(t, 768/5, one, 2, "a quarter of what is left")
	other := fill(t, h, "8.8.8.9", true)
	require.InDelta(t, 768/3, one+other, 50, "and of a group a half of it")
}

// What forged addresses begin is little, and says nothing against whose they are.
func TestForgedAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandshakesOf(t, Limits{})
		rng := rand.New(rand.NewPCG(1, 2))
		begun := 0
		for range 100 { // seconds
			for range 1000 {
				forged := netip.AddrFrom4([4]byte{9, byte(rng.Uint32()), byte(rng.Uint32()), 1})
				if !h.prove(forged) {
					_, err := h.begin(forged, false)
					require.NoError(t, err)
					begun++
				}
			}
			time.Sleep(time.Second)
		}
		require.Equal(t, 1024/4, begun)
		require.Empty(t, h.of)
		require.Positive(t, fill(t, h, "9.9.9.9", true))
		require.EqualValues(t, 100*1000-begun, h.snapshot().Retried)
	})
}

// Groups that begin many handshakes have to prove their addresses, and nobody else has for
// their sake.
func TestNoisyGroupsProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandshakesOf(t, Limits{})
		unproved, unlucky := 0, 0
		for second := range 10 {
			for i := range 16 * 1000 {
				if !h.prove(netip.AddrFrom4([4]byte{9, 9, byte(i % 16), byte(i)})) {
					unproved++
				}
			}
			if h.prove(netip.AddrFrom4([4]byte{8, 8, byte(second), 8})) {
				unlucky++ // it shares the bucket of a noisy one: one of 256 does, by chance
			}
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, unproved, 16*(4+10))
		require.LessOrEqual(t, unlucky, 2)
	})
}

func TestHandshakesARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandshakesOf(t, Limits{PerSecond: 2})
		make := func(ip string) (n int, err error) {
			for ; err == nil && n < 1000; n++ {
				var end func()
				if end, err = h.begin(netip.MustParseAddr(ip), true); err == nil {
					end()
				}
			}
			return n - 1, err
		}
		n, err := make("8.8.8.8")
		require.ErrorIs(t, err, ErrTooOften)
		require.Equal(t, 20, n)
		time.Sleep(5 * time.Second)
		n, _ = make("8.8.8.8")
		require.Equal(t, 10, n, "two a second")
		for i := range 4 {
			n, _ = make(fmt.Sprintf("8.8.8.%d", 10+i))
		}
		require.Less(t, n, 20+1, "of a group four times as many")
		n, err = make("127.0.0.1")
		require.NoError(t, err, "any number from this machine")
		require.Equal(t, 999, n)
		require.Zero(t, h.all)
		require.Empty(t, h.of)
	})
}

// The scope of a connection that comes in ends with it, handshaken or not.
func TestConnContext(t *testing.T) {
	r := newRig(t, Limits{Handshakes: 4})
	come := func() (context.Context, func(), error) {
		ctx, end := context.WithCancel(t.Context())
		ctx, err := r.ConnContext(ctx, &quic.ClientInfo{RemoteAddr: &net.UDPAddr{IP: net.IPv4(9, 9, 9, 9), Port: 1}, AddrVerified: true})
		return ctx, end, err
	}
	_, end, err := come()
	require.NoError(t, err)
	require.Equal(t, 1, r.pool.Stats().Handshakes.UnderWay)
	end()
	require.Eventually(t, func() bool { return r.pool.Stats().Handshakes.UnderWay == 0 }, time.Second, time.Millisecond)

	ctx, end, err := come()
	require.NoError(t, err)
	scope, err := network.UnwrapConnManagementScope(ctx)
	require.NoError(t, err)
	require.NoError(t, scope.SetPeer("a"))
	require.NoError(t, scope.ReserveMemory(100, 255))
	s := (&Conn{scope.(*connScope)}).OpenStream()
	require.NoError(t, s.ReserveMemory(10, 255))
	stats := r.pool.Stats()
	require.Zero(t, stats.Handshakes.UnderWay, "it is a connection")
	require.Equal(t, []int64{ConnCost + StreamCost, 110, 1, 1}, []int64{stats.Memory, stats.Buffered, int64(stats.Conns), int64(stats.Streams)})
	s.Done()
	end()
	require.Eventually(t, func() bool { return r.pool.Stats().Memory == 0 }, time.Second, time.Millisecond)
	require.Zero(t, r.pool.Stats().Buffered)
	s = (&Conn{scope.(*connScope)}).OpenStream()
	require.NoError(t, s.ReserveMemory(1, 255), "nobody counts what comes after the end")
	s.Done()
	require.Zero(t, r.pool.Stats().Buffered)
}
