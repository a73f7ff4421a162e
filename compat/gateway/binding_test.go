package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// idle is a listener to which nobody comes.
type idle struct {
	closed chan struct{}
	once   *sync.Once
}

func newIdle() idle { return idle{make(chan struct{}), new(sync.Once)} }

func (i idle) Addr() net.Addr { return &net.UDPAddr{Port: 1} }
func (i idle) Close() error   { i.once.Do(func() { close(i.closed) }); return nil }
func (i idle) Accept(context.Context) (*quic.Conn, error) {
	<-i.closed
	return nil, net.ErrClosed
}

// Who can not listen again tries ever less often, and says how it stands.
func TestListenerIsOpenedEverLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		refused := errors.New("no room")
		var mu sync.Mutex // guards these
		var tried []time.Time
		latest, fails := newIdle(), false
		require.NoError(t, g.Listen(func() (Listener, error) {
			mu.Lock()
			defer mu.Unlock()
			tried = append(tried, time.Now())
			if fails {
				return nil, refused
			}
			latest = newIdle()
			return latest, nil
		}))
		tries := func() []time.Time {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(tried)
		}
		end := func(failing bool) (at time.Time) {
			mu.Lock()
			defer mu.Unlock()
			fails = failing
			latest.Close()
			return time.Now()
		}
		require.NoError(t, g.Listening()[0].Err)

		ended := end(true)
		synctest.Wait()
		require.ErrorIs(t, g.Listening()[0].Err, net.ErrClosed)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.ErrorIs(t, g.Listening()[0].Err, refused)
		require.Equal(t, ended, g.Listening()[0].Since)
		var pauses []time.Duration
		all := tries()
		for i, at := range all[1:] {
			before := ended
			if i > 0 {
				before = all[i]
			}
			pauses = append(pauses, at.Sub(before))
		}
		require.Equal(t, []time.Duration{1, 2, 4, 8, 16, 30, 30}, seconds(pauses))

		mu.Lock()
		fails = false
		mu.Unlock()
		time.Sleep(lastReopen)
		synctest.Wait()
		require.NoError(t, g.Listening()[0].Err)

		// One that ends at once does not make it any quicker, one that lasted does.
		ended = end(false)
		time.Sleep(lastReopen)
		synctest.Wait()
		require.Equal(t, lastReopen, last(tries()).Sub(ended))
		time.Sleep(lastReopen)
		ended = end(false)
		time.Sleep(firstReopen)
		synctest.Wait()
		require.Equal(t, firstReopen, last(tries()).Sub(ended))
	})
}

func last(times []time.Time) time.Time { return times[len(times)-1] }

func seconds(pauses []time.Duration) (s []time.Duration) {
	for _, p := range pauses {
		s = append(s, p/time.Second)
	}
	return s
}

// A port of the gateway's own is opened again under the same number.
func TestOwnPortIsOpenedAgain(t *testing.T) {
	t.Parallel()
	d := openGateway(t)
	dialGateway(t, d.addr).open().connect("a node", "https://127.0.0.1:1")
	d.mu.Lock()
	ln := d.bindings[0].Listener
	d.mu.Unlock()
	require.NoError(t, ln.Close())
	compattest.Eventually(t, func() bool { return d.Listening()[0].Err != nil }, "it is noticed")
	compattest.Eventually(t, func() bool { return d.Listening()[0].Err == nil }, "it is mended")
	require.Equal(t, wire.TypePong, dialGateway(t, d.addr).open().ask(connectOf("another", "https://127.0.0.1:1")).Type)
}

// What is listened on is what peers are told, unless something else is set.
func TestEndpointOfTheGateway(t *testing.T) {
	r, err := routing.NewServer(routing.IDFromBytes([]byte("the gateway")))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	for name, test := range map[string]struct {
		opts   []dht.Option
		listen []string
		want   func(ports []string) string
	}{
		"nothing":               {nil, nil, func([]string) string { return "" }},
		"loopback":              {nil, []string{"127.0.0.1:0"}, func(p []string) string { return "https://127.0.0.1:" + p[0] }},
		"of two the first":      {nil, []string{"127.0.0.1:0", "127.0.0.2:0"}, func(p []string) string { return "https://127.0.0.1:" + p[0] }},
		"what the handlers say": {[]dht.Option{dht.WithEndpoint(func() string { return ownEndpoint })}, []string{"127.0.0.1:0"}, func([]string) string { return ownEndpoint }},
	} {
		t.Run(name, func(t *testing.T) {
			mux, err := server.NewMux()
			require.NoError(t, err)
			handlers, err := dht.New(mux, r, test.opts...)
			require.NoError(t, err)
			g, err := New(handlers)
			require.NoError(t, err)
			var ports []string
			for _, address := range test.listen {
				at, err := g.ListenOn(address, compattest.Certificate())
				require.NoError(t, err)
				ports = append(ports, strconv.Itoa(int(at.Port())))
			}
			require.Equal(t, test.want(ports), handlers.Endpoint())
			compattest.RequireCloses(t, g.Close)
			require.Empty(t, g.Endpoint())
		})
	}
}

func TestDialable(t *testing.T) {
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:1")}, dialable(&net.UDPAddr{IP: net.ParseIP("192.0.2.7"), Port: 1}))
	require.Empty(t, dialable(&net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 1, Zone: "eth0"}))
	for _, wildcard := range []net.IP{net.IPv4zero, net.IPv6zero} {
		all := dialable(&net.UDPAddr{IP: wildcard, Port: 9443})
		require.Contains(t, all, netip.MustParseAddrPort("127.0.0.1:9443"))
		for _, ap := range all {
			require.False(t, ap.Addr().IsUnspecified())
		}
	}
	public, private, local := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("127.0.0.1")
	require.IsIncreasing(t, []int{distance(public), distance(netip.MustParseAddr("2606:4700::1")), distance(private), distance(local), distance(netip.IPv6Loopback())})
}
