package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/doctor"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/virtualtest"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// world is a simulated network in virtual time, so that the times are those of
// daily life.
type world struct{ *virtualtest.World }

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	virtualtest.Run(t, 10*time.Millisecond, func(w *virtualtest.World) { test(&world{w}) })
}

func (w *world) gateway(opts ...glass.Option) *glass.Gateway {
	w.Helper()
	g, err := glass.Start(append([]glass.Option{glass.Listen(w.NextHost()), glass.Network(w.Listen)}, opts...)...)
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, g.Close()) })
	return g
}

// udp dials as libp2p's host does.
type udp struct{ *quic.Transport }

func (u udp) DialQUIC(ctx context.Context, to ma.Multiaddr, conf *tls.Config, allow func(*quic.Conn, uint64) bool) (*quic.Conn, error) {
	addr, _, err := quicreuse.FromQuicMultiaddr(to)
	if err != nil {
		return nil, err
	}
	return u.Dial(ctx, addr, conf, &quic.Config{KeepAlivePeriod: 15 * time.Second, AllowConnectionWindowIncrease: allow})
}

// dialer returns one at a host of its own, or at that of another one.
func (w *world) dialer(host string) *dialer.Dialer {
	w.Helper()
	packets, err := w.Listen(host)
	require.NoError(w, err)
	tr := &quic.Transport{Conn: packets}
	w.Cleanup(func() { packets.Close(); tr.Close() })
	d, err := dialer.New(dialer.WithQUIC(udp{tr}))
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, d.Close()) })
	return d
}

// uplinks starts sessions at the pace of daily life.
func (w *world) uplinks(d *dialer.Dialer, gateways ...*glass.Gateway) *Uplinks {
	w.Helper()
	r, err := routing.NewServer(routing.IDFromBytes([]byte("self")))
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, r.Close()) })
	mux, err := server.NewMux()
	require.NoError(w, err)
	handlers, err := dht.New(mux, r, dht.WithEndpoint(func() string { return "https://1.2.3.4:9443" }))
	require.NoError(w, err)
	var endpoints []identity.PinnedEndpoint
	for _, g := range gateways {
		endpoints = append(endpoints, mustParse(w, g.Endpoint()))
	}
	u, err := New(d, handlers, endpoints)
	require.NoError(w, err)
	w.Cleanup(u.Close)
	return u
}

// joins returns how long it takes until there is the session of so many CONNECTs.
func (w *world) joins(u *Uplinks, g *glass.Gateway, connects int) time.Duration {
	w.Helper()
	start := time.Now()
	for len(u.Sessions()) != 1 || g.Stats().Frames[wire.TypeConnect] < connects {
		require.Less(w, time.Since(start), 5*time.Minute, "no session")
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

const sessionIn = 10 * time.Second

// A gateway that was killed and is back has its session again within 10 s, when in
// the life of that it may be killed, and however long it was away.
func TestSessionAfterACrash(t *testing.T) {
	for name, away := range map[string]time.Duration{
		"half a second":    500 * time.Millisecond,
		"two seconds":      2 * time.Second,
		"five seconds":     5 * time.Second,
		"fifteen seconds":  15 * time.Second,
		"half a minute":    30 * time.Second,
		"almost a minute":  55 * time.Second,
		"just over the 30": 37 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				g := w.gateway(glass.RestartAfter(away))
				u := w.uplinks(w.dialer(w.NextHost()), g)
				w.joins(u, g, 1)
				for round := range 6 {
					time.Sleep(time.Minute + time.Duration(round)*time.Second)
					connects := g.Stats().Frames[wire.TypeConnect]
					require.NoError(t, g.Restart())
					require.Less(t, w.joins(u, g, connects+1), sessionIn, "in round %d", round)
				}
				require.Empty(t, g.Broken())
				require.Empty(t, g.Lapses())
			})
		})
	}
}

// A gateway that stalls for less than half a minute keeps its session and its
// connection, whatever else it is asked meanwhile.
func TestSessionOverAStall(t *testing.T) {
	for name, test := range map[string]struct {
		stall time.Duration
		asked bool // by a lookup
	}{
		"14 s":                   {stall: 14 * time.Second},
		"25 s":                   {stall: 25 * time.Second},
		"14 s during a lookup":   {14 * time.Second, true},
		"25 s during two of one": {25 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				g := w.gateway()
				d := w.dialer(w.NextHost())
				u := w.uplinks(d, g)
				w.joins(u, g, 1)
				for round := range 6 {
					time.Sleep(10*time.Minute + time.Duration(round)*time.Second)
					g.Stall(test.stall)
					if test.asked {
						_, err := client.FindValue(w.Context(), d, compattest.At(g.Endpoint()), []byte("k"))
						require.ErrorIs(t, err, dialer.ErrNoReply)
						_, err = client.FindValue(w.Context(), d, compattest.At(g.Endpoint()), []byte("k"))
						require.ErrorIs(t, err, dialer.ErrBackoff, "it is left alone")
					}
					for range 60 {
						require.Len(t, u.Sessions(), 1)
						time.Sleep(time.Second)
					}
				}
				require.Equal(t, 1, g.Stats().Frames[wire.TypeConnect])
				require.Equal(t, 1, g.Stats().Accepted)
				require.Empty(t, g.Broken())
				require.Empty(t, g.Lapses())
			})
		})
	}
}

// One that stalls for good loses its session, and one whose process alone hangs is
// not dialled on and on.
func TestSessionOfAHungGateway(t *testing.T) {
	inWorld(t, func(w *world) {
		g := w.gateway()
		u := w.uplinks(w.dialer(w.NextHost()), g)
		w.joins(u, g, 1)
		time.Sleep(time.Minute)
		g.Stall(10 * time.Minute)
		time.Sleep(45 * time.Second)
		require.Empty(t, u.Sessions())
		require.ErrorIs(t, u.Status()[0].Err, dialer.ErrNoReply)
		time.Sleep(8 * time.Minute)
		require.LessOrEqual(t, g.Stats().Accepted, 20)
		require.Less(t, w.joins(u, g, 2), 2*time.Minute)
		require.Empty(t, g.Broken())
	})
}

// Whatever is asked of it and whatever it goes through, a gateway that takes 5
// connections of an address in 10 s never refuses one of ours, also where a doctor
// looks at it from the same machine.
func TestNothingOfOursIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		limited := glass.RateLimited(glass.DefaultPerSource, glass.DefaultSourceTime, glass.DefaultPerSecond)
		g, other := w.gateway(limited), w.gateway(limited)
		host := w.NextHost()
		d := w.dialer(host)
		another := w.dialer(strings.Replace(host, ":9443", ":9444", 1)) // of another process
		u := w.uplinks(d, g, other)
		stop, asking := make(chan struct{}), sync.WaitGroup{}
		for i := range 4 {
			asking.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(50 * time.Millisecond):
					}
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					_, err := client.FindValue(ctx, d, compattest.At(g.Endpoint()), []byte{byte(i), byte(n)})
					cancel()
					if err != nil && !errors.Is(err, proto.ErrUnreachable) && !errors.Is(err, proto.ErrUnanswered) {
						w.Error(err)
					}
				}
			})
		}
		for round := range 20 {
			time.Sleep(time.Duration(round) * time.Second)
			switch round % 3 {
			case 0:
				require.NoError(t, g.Restart())
			case 1:
				g.DropClients()
			case 2:
				report, err := doctor.Examine(w.Context(), another, g.Endpoint())
				require.NoError(t, err)
				require.NotEmpty(t, report.Checks)
			}
		}
		for range 20 { // it ends each of our connections at once
			g.DropClients()
			time.Sleep(200 * time.Millisecond)
		}
		close(stop)
		asking.Wait()
		require.NoError(t, g.NothingRefused())
		require.NoError(t, other.NothingRefused())
		require.Greater(t, g.Stats().Accepted, 10)
		w.joins(u, other, 1)
	})
}
