package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/pace"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// names is a Resolver of some names.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) (ips []netip.Addr, err error) {
	for _, text := range n[host] {
		ips = append(ips, netip.MustParseAddr(text))
	}
	if len(ips) == 0 {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return ips, err
}

// deadAddrs has nobody answer at a port of some addresses, though packets arrive.
func deadAddrs(tb testing.TB, port int, ips ...string) {
	tb.Helper()
	for _, ip := range ips {
		c, err := net.ListenPacket("udp", net.JoinHostPort(ip, strconv.Itoa(port)))
		require.NoError(tb, err)
		tb.Cleanup(func() { c.Close() })
	}
}

// A name is reached though its first addresses are dead: they take none of the
// others' time.
func TestDeadAddressesOfAName(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlang(t, "127.0.0.9:0")
	dead := []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}
	deadAddrs(t, e.Addr().Port, dead...)
	r := names{"gw.example.org": append(dead, "127.0.0.9")}
	endpoint := "https://gw.example.org:" + strconv.Itoa(e.Addr().Port)
	d := newDialer(t, WithResolver(r))
	start := time.Now()
	_, err := client.Ping(compattest.Context(t), d, compattest.At(endpoint))
	require.NoError(t, err)
	require.Less(t, time.Since(start), 3*time.Second)
	require.Equal(t, 1, e.Stats().Accepted)
	e.RequireSpared()

	contact := compattest.At(endpoint)
	contact, err = d.Verify(compattest.Context(t), contact, func(netip.Addr) bool { return true })
	require.NoError(t, err)
	require.Equal(t, e.Endpoint(), contact.Endpoint, "it stays where it answered")
}

// Of two addresses that both answer the later one's connection is closed in order.
func TestLoserOfTheRace(t *testing.T) {
	slow := compattest.StartErlang(t, "127.0.0.1:0")
	fast := compattest.StartErlangWith(t, glass.Listen("127.0.0.2:"+strconv.Itoa(slow.Addr().Port)))
	letGo := slow.HoldHandshakes()
	d := newDialer(t, WithResolver(names{"gw": {"127.0.0.1", "127.0.0.2"}}))
	_, err := client.Ping(compattest.Context(t), d, compattest.At("https://gw:"+compattest.PortOf(t, slow.Endpoint())))
	require.NoError(t, err)
	require.Equal(t, 1, fast.Count(wire.TypePing))
	require.True(t, slow.Stats().Handshaking, "nor is its handshake broken off")
	letGo()
	compattest.Eventually(t, func() bool { return slow.Stats().Accepted == 1 && slow.Stats().Open == 0 }, "closed")
	require.Zero(t, slow.Count())
	slow.RequireSpared()
	fast.RequireSpared()
}

// Whoever wants it and however the endpoint is spelt, an address is dialled so
// often and no oftener; who has no time to wait is told at once.
func TestFewDials(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlangWith(t, glass.Listen("127.0.0.1:0"),
		glass.RateLimited(4, 3*time.Second, glass.DefaultPerSecond))
	port := compattest.PortOf(t, e.Endpoint())
	d := newDialer(t, WithResolver(names{"gw": {"127.0.0.1"}, "other": {"127.0.0.1"}}), limit(func(l *Limits) {
		l.MaxDials, l.DialWindow = 3, 3*time.Second
	}))
	for _, host := range []string{"127.0.0.1", "gw", "other"} {
		_, err := client.Ping(compattest.Context(t), d, compattest.At("https://"+host+":"+port))
		require.NoError(t, err)
	}
	e.DropClients()
	compattest.Eventually(t, func() bool { return e.Stats().Open == 0 }, "all are lost")
	endpoint := mustParse(t, e.Endpoint()).Endpoint

	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	var err error
	compattest.Eventually(t, func() bool {
		_, err = client.Ping(short, d, compattest.At(e.Endpoint()))
		return isLimit(err)
	}, "told at once")
	require.Less(t, time.Since(start), time.Second)
	require.ErrorIs(t, err, ErrBackoff)
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.ErrorContains(t, err, "3 times within 3s")
	limit, _ := errors.AsType[*pace.LimitError](err)
	require.Equal(t, limit.Until, d.BackoffEnd(endpoint))

	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err, "who waits is served")
	require.False(t, time.Now().Before(limit.Until))
	require.NoError(t, e.NothingRefused())
}

// Refused handshakes count too.
func TestFewDialsOfABusyNode(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.OccupyHandshake()
	defer letGo()
	d := newDialer(t, within(3*time.Second, time.Second))
	_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.True(t, pace.Refused(err))
	require.LessOrEqual(t, e.Stats().Refused, 4)
	require.Greater(t, e.Stats().Refused, 1)
}

// A node that was started again has its new connection at once, and the old one's
// questions end.
func TestRestartIsTold(t *testing.T) {
	e := compattest.StartErlangWith(t, glass.RestartAfter(100*time.Millisecond))
	d := newDialer(t, limit(func(l *Limits) { l.Silence = 300 * time.Millisecond }))
	c := hold(t, d, e)
	s, err := c.Connect(compattest.Context(t), ourConnect(), untilEnded)
	require.NoError(t, err)
	require.NoError(t, c.Ping(compattest.Context(t)))
	require.NoError(t, e.Restart())
	start := time.Now()
	lookup := compattest.InBackground(func() error {
		_, err := client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
		return err
	})
	require.ErrorIs(t, c.Ping(compattest.Context(t)), ErrRestarted)
	require.ErrorIs(t, compattest.Wait(t, lookup), ErrRestarted)
	require.Less(t, time.Since(start), 5*time.Second)
	require.False(t, c.Current())
	require.ErrorIs(t, c.Err(), ErrRestarted)
	compattest.Wait(t, s.Done())
	_, err = client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
	require.NoError(t, err, "nor is it left alone")
	require.Equal(t, 2, e.Stats().Accepted)
}

// A node whose packets alone are held up is not given up: what was dialled beside
// its connection is closed again.
func TestStallIsNoRestart(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t, within(compattest.Patience, 5*time.Second), limit(func(l *Limits) { l.Silence = soon }))
	c := hold(t, d, e)
	letGo := e.HoldReplies(wire.TypePing)
	ping := compattest.InBackground(func() error { return c.Ping(compattest.Context(t)) })
	time.AfterFunc(5*soon, letGo)
	require.NoError(t, compattest.Wait(t, ping))
	require.True(t, c.Current())
	require.Equal(t, 1, e.Stats().Accepted)

	letGo = e.HoldHandshakes()
	compattest.Eventually(t, func() bool {
		before := c.conn.received()
		time.Sleep(50 * time.Millisecond)
		return c.conn.received() == before
	}, "no packet is on its way any more, which would speak for the connection")
	c.link.doubt(c.conn, c.conn.received()) // as where nothing had come for a while
	beside := compattest.InBackground(func() error {
		fresh, err := c.link.connect(compattest.Context(t), true)
		if err == nil {
			c.link.leaveConn(fresh)
		}
		return err
	})
	compattest.Eventually(t, func() bool { return e.Stats().Handshaking }, "it is dialled beside")
	require.NoError(t, c.Ping(compattest.Context(t)), "something comes while it is dialled")
	letGo()
	require.NoError(t, compattest.Wait(t, beside))
	require.True(t, c.Current())
	compattest.Eventually(t, func() bool { return e.Stats().Accepted == 2 && e.Stats().Open == 1 }, "the new connection is closed again")
	e.RequireUnharmed()
}
