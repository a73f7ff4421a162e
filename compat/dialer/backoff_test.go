package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

const (
	soon  = 100 * time.Millisecond // a time-out that a test waits for
	never = time.Hour              // one that it does not
)

// limit changes some of a dialer's limits.
func limit(change func(*Limits)) Option {
	return func(c *config) error {
		change(&c.limits)
		return c.limits.Validate()
	}
}

func within(dial, reply time.Duration) Option {
	return limit(func(l *Limits) { l.DialTimeout, l.ReplyTimeout = dial, reply })
}
func backoff(d time.Duration) Option   { return limit(func(l *Limits) { l.Backoff = d }) }
func lateReply(d time.Duration) Option { return limit(func(l *Limits) { l.LateReply = d }) }
func idleFor(d time.Duration) Option   { return limit(func(l *Limits) { l.Idle = d }) }
func keepLinks(n int) Option           { return limit(func(l *Limits) { l.MaxEndpoints = n }) }

func TestNoReplyInTime(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypeFindValue)
	d := newDialer(t, within(compattest.Patience, soon), backoff(never))
	_, err := client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.NotErrorIs(t, err, ErrBackoff)
	require.ErrorContains(t, err, "no reply within")
	require.ErrorContains(t, err, e.Endpoint())

	for name, ask := range map[string]func() error{
		"PING": func() error {
			_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
			return err
		},
		"STORE": func() error {
			return d.Send(compattest.Context(t), compattest.At(e.Endpoint()), &wire.Store{Key: []byte("k"), Value: compattest.Provider("n")})
		},
	} {
		err := ask()
		require.ErrorIs(t, err, ErrBackoff, name)
		require.ErrorIs(t, err, proto.ErrUnreachable, name)
	}
	require.Equal(t, 1, e.Count(), "it is left alone")
	require.Equal(t, 1, e.Stats().Open, "its connection is not closed on the reply")

	letGo()
	e.RequireSpared()
	compattest.Eventually(t, func() bool { return e.Stats().Open == 0 }, "the connection goes with its last stream")
}

// Other endpoints are asked meanwhile, and this one after its backoff.
func TestBackoffEnds(t *testing.T) {
	t.Parallel()
	e, other := compattest.StartErlang(t, "127.0.0.1:0"), compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypePing)
	d := newDialer(t, within(compattest.Patience, 10*soon), backoff(2*soon)) // those who do answer take less than that
	_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, proto.ErrUnreachable)
	letGo()
	_, err = client.Ping(compattest.Context(t), d, compattest.At(other.Endpoint()))
	require.NoError(t, err)
	compattest.Eventually(t, func() bool {
		_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
		return err == nil
	}, "asked again")
	require.Equal(t, 2, e.Stats().Accepted, "a fresh connection")
	e.RequireSpared()
}

// A node that did not answer is left alone by whatever endpoint it is asked: one
// that has a connection, and one that would make another.
func TestBackoffIsTheNodes(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	port := e.Endpoint()[strings.LastIndex(e.Endpoint(), ":"):]
	d := newDialer(t, within(compattest.Patience, soon), backoff(never))
	_, err := client.Ping(compattest.Context(t), d, compattest.At("https://localhost"+port))
	require.NoError(t, err)
	letGo := e.HoldReplies(wire.TypePing)
	defer letGo()
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, ErrNoReply)

	before := e.Stats()
	_, err = client.Ping(compattest.Context(t), d, compattest.At("https://localhost"+port))
	require.ErrorIs(t, err, ErrBackoff, "over the connection that there is")
	_, err = client.Ping(compattest.Context(t), d, compattest.At("https://[::ffff:127.0.0.1]"+port))
	require.ErrorIs(t, err, ErrBackoff)
	proved := compattest.At("https://gateway.invalid" + port)
	proved.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/" + port[1:] + "/quic-v1")}
	_, err = client.Ping(compattest.Context(t), d, proved)
	require.ErrorIs(t, err, ErrBackoff, "nor is it dialled")
	require.Equal(t, before, e.Stats())
}

// Those who wait for their turn are told at once, and do not ask an endpoint
// that rests when their turn comes.
func TestBackoffEndsTheQueue(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlang(t, "127.0.0.1:0")
	e.HoldReplies(wire.TypeFindValue)
	d := newDialer(t, within(compattest.Patience, soon), backoff(never))
	const lookups = 10
	results := make(chan error, lookups)
	for range lookups {
		go func() {
			_, err := client.FindValue(context.Background(), d, compattest.At(e.Endpoint()), []byte("k"))
			results <- err
		}()
	}
	resting := 0
	for range lookups {
		err := compattest.Wait(t, results)
		require.ErrorIs(t, err, proto.ErrUnreachable)
		if errors.Is(err, ErrBackoff) {
			resting++
		}
	}
	require.Equal(t, lookups-1, resting)
	require.Equal(t, 1, e.Count(wire.TypeFindValue))
}

// A reply that never comes does not keep its connection for ever.
func TestAbandoned(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	e.HoldReplies(wire.TypePing)
	d := newDialer(t, within(compattest.Patience, soon), backoff(0), lateReply(soon))
	_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, proto.ErrUnreachable)
	compattest.Eventually(t, func() bool { return e.Stats().Open == 0 }, "closed")
	e.RequireUnharmed("with nothing cancelled before")
}

// A connection on which one request failed is kept for the replies under way.
func TestRetiredConnectionWaitsForReplies(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypeFindValue)
	d := newDialer(t)
	lookup := compattest.InBackground(func() error {
		_, err := client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
		return err
	})
	compattest.Eventually(t, func() bool { return e.Count(wire.TypeFindValue) == 1 }, "asked")
	e.ReplyWith(func(asked framing.Frame) []byte {
		if asked.Type == wire.TypePing {
			return []byte{2} // framing is lost
		}
		return nil
	})
	_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, proto.ErrUnreachable)
	e.ReplyWith(nil)
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err)
	require.Equal(t, 2, e.Stats().Open, "the old one, and one of which use is made")
	letGo()
	require.NoError(t, compattest.Wait(t, lookup))
	compattest.Eventually(t, func() bool { return e.Stats().Open == 1 }, "the old one is closed")
	e.RequireUnharmed()
}

func TestRedialsAfterALoss(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t)
	_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err)
	letGo := e.HoldReplies(wire.TypePing)
	pending := compattest.InBackground(func() error {
		_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
		return err
	})
	compattest.Eventually(t, func() bool { return e.Count() == 2 }, "asked")
	e.DropClients()
	require.ErrorIs(t, compattest.Wait(t, pending), proto.ErrUnreachable)
	letGo()
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err)
	require.Equal(t, 2, e.Stats().Accepted)
}

func TestIdleConnectionIsClosed(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t, idleFor(soon))
	for round := 1; round <= 2; round++ {
		_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
		require.NoError(t, err)
		compattest.Eventually(t, func() bool { return e.Stats().Open == 0 }, "closed")
		compattest.Eventually(t, func() bool { return links(d) == 0 }, "and forgotten")
		require.Equal(t, round, e.Stats().Accepted)
	}
	e.RequireSpared()
}

// Nobody has us keep a connection to every endpoint that he can think of.
func TestLinksAreBounded(t *testing.T) {
	t.Parallel()
	busy, resting, idle, next := compattest.StartErlang(t, "127.0.0.1:0"), compattest.StartErlang(t, "127.0.0.1:0"), compattest.StartErlang(t, "127.0.0.1:0"), compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t, within(compattest.Patience, time.Second), backoff(never), keepLinks(3))
	ping := func(e *compattest.Erlang) error {
		_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
		return err
	}
	letGo := resting.HoldReplies(wire.TypePing)
	defer letGo()
	require.ErrorIs(t, ping(resting), ErrNoReply)
	letGo()
	require.NoError(t, ping(idle))
	compattest.Eventually(t, func() bool { return unusedLinks(d) == 2 }, "nothing is under way")

	l, err := d.link(place{Endpoint: endpoints.Endpoint{Host: "127.0.0.1", Port: uint16(busy.Addr().Port)}})
	require.NoError(t, err)
	defer d.leave(l)
	require.NoError(t, ping(next))
	require.Equal(t, 3, links(d))
	compattest.Eventually(t, func() bool { return idle.Stats().Open == 0 }, "the idle connection made room")
	require.ErrorIs(t, ping(resting), ErrBackoff, "the backoff was kept")
	require.NoError(t, ping(busy))
}

func TestLinksInUseStay(t *testing.T) {
	d := newDialer(t, keepLinks(1))
	l, err := d.link(place{Endpoint: endpoints.Endpoint{Host: "127.0.0.1", Port: 1}})
	require.NoError(t, err)
	_, err = d.link(place{Endpoint: endpoints.Endpoint{Host: "127.0.0.1", Port: 2}})
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.ErrorContains(t, err, "https://127.0.0.1:2")
	d.leave(l)
	other, err := d.link(place{Endpoint: endpoints.Endpoint{Host: "127.0.0.1", Port: 2}})
	require.NoError(t, err)
	d.leave(other)
}

// A connection of which use is made is not idle, however long it takes.
func TestUsedConnectionIsNotIdle(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypeFindValue)
	d := newDialer(t, idleFor(soon))
	result := compattest.InBackground(func() error {
		_, err := client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
		return err
	})
	idle := compattest.StartErlang(t, "127.0.0.1:0")
	for range 2 { // what idles goes meanwhile
		_, err := client.Ping(compattest.Context(t), d, compattest.At(idle.Endpoint()))
		require.NoError(t, err)
		compattest.Eventually(t, func() bool { return idle.Stats().Open == 0 }, "closed")
	}
	letGo()
	require.NoError(t, compattest.Wait(t, result))
	require.Equal(t, 1, e.Stats().Accepted)
	compattest.Eventually(t, func() bool { return e.Stats().Open == 0 }, "closed when it idles at last")
}

// The backoff is remembered though nobody asks.
func TestBackoffOutlivesIdleness(t *testing.T) {
	e, other := compattest.StartErlang(t, "127.0.0.1:0"), compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypePing)
	d := newDialer(t, within(compattest.Patience, soon), backoff(never), idleFor(soon))
	_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, proto.ErrUnreachable)
	letGo()
	_, err = client.Ping(compattest.Context(t), d, compattest.At(other.Endpoint()))
	require.NoError(t, err)
	compattest.Eventually(t, func() bool { return links(d) == 1 }, "the other is forgotten")
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, ErrBackoff)
}

func TestDialerCloses(t *testing.T) {
	t.Parallel()
	t.Run("at once, when nothing is under way", func(t *testing.T) {
		e := compattest.StartErlang(t, "127.0.0.1:0")
		d := newDialer(t)
		_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
		require.NoError(t, err)
		start := time.Now()
		compattest.RequireCloses(t, d.Close)
		require.Less(t, time.Since(start), closeGrace)
		_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
		require.ErrorIs(t, err, proto.ErrClosed)
		compattest.Eventually(t, func() bool { return e.Stats().Open == 0 }, "the connection is closed")
		compattest.RequireCloses(t, d.Close)
	})
	t.Run("after replies under way", func(t *testing.T) {
		e := compattest.StartErlang(t, "127.0.0.1:0")
		letGo := e.HoldReplies(wire.TypePing)
		d := newDialer(t)
		result := compattest.InBackground(func() error {
			_, err := client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
			return err
		})
		compattest.Eventually(t, func() bool { return e.Count() == 1 }, "asked")
		closed := compattest.InBackground(d.Close)
		compattest.Eventually(t, func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.closed
		}, "closing")
		letGo()
		require.NoError(t, compattest.Wait(t, result))
		require.NoError(t, compattest.Wait(t, closed))
		e.RequireSpared()
	})
	t.Run("though a reply does not come", func(t *testing.T) {
		t.Parallel()
		e := compattest.StartErlang(t, "127.0.0.1:0")
		e.HoldReplies(wire.TypeFindValue)
		d := newDialer(t)
		const lookups = 3 // one asked, and others that wait for their turn
		results := make(chan error, lookups)
		for range lookups {
			go func() {
				_, err := client.FindValue(compattest.Context(t), d, compattest.At(e.Endpoint()), []byte("k"))
				results <- err
			}()
		}
		compattest.Eventually(t, func() bool { return e.Count() == 1 }, "asked")
		compattest.RequireCloses(t, d.Close)
		for range lookups {
			require.ErrorIs(t, compattest.Wait(t, results), proto.ErrClosed)
		}
	})
	t.Run("while a handshake does not end", func(t *testing.T) {
		t.Parallel()
		silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer silent.Close()
		d := newDialer(t)
		result := compattest.InBackground(func() error {
			_, err := client.Ping(compattest.Context(t), d, compattest.At("https://"+silent.LocalAddr().String()))
			return err
		})
		compattest.Eventually(t, func() bool { return links(d) == 1 }, "dialling")
		compattest.RequireCloses(t, d.Close)
		require.ErrorIs(t, compattest.Wait(t, result), proto.ErrClosed)
	})
}

func TestDialTimeout(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	d := newDialer(t, within(soon, compattest.Patience))
	_, err = client.Ping(compattest.Context(t), d, compattest.At("https://"+silent.LocalAddr().String()))
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// lostAtOnce dials connections that are gone when they are first used.
type lostAtOnce struct {
	QUIC
	dials atomic.Int32
}

func (q *lostAtOnce) DialQUIC(ctx context.Context, to ma.Multiaddr, tlsConf *tls.Config, allow func(*quic.Conn, uint64) bool) (*quic.Conn, error) {
	q.dials.Add(1)
	conn, err := q.QUIC.DialQUIC(ctx, to, tlsConf, allow)
	if err == nil {
		conn.CloseWithError(0, "")
	}
	return conn, err
}

// A node that accepts connections to close them is not dialled on and on.
func TestAcceptsToClose(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	cm, err := quicreuse.NewConnManager(quic.StatelessResetKey{}, quic.TokenGeneratorKey{})
	require.NoError(t, err)
	defer cm.Close()
	q := &lostAtOnce{QUIC: cm}
	d, err := New(WithQUIC(q))
	require.NoError(t, err)
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, 1, q.dials.Load())
	compattest.RequireCloses(t, d.Close)
}

func TestDialThroughTheListeningPort(t *testing.T) {
	cm, err := quicreuse.NewConnManager(quic.StatelessResetKey{}, quic.TokenGeneratorKey{})
	require.NoError(t, err)
	ln, err := cm.ListenQUIC(ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"), serverTLS(compattest.Certificate()), func(*quic.Conn, uint64) bool { return true })
	require.NoError(t, err)
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d, err := New(WithQUIC(cm))
	require.NoError(t, err)
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err)
	require.Len(t, e.Clients(), 1)
	require.Equal(t, ln.Addr().String(), e.Clients()[0].String())
	compattest.RequireCloses(t, d.Close)

	d, err = New(WithQUIC(cm)) // which the first has not closed
	require.NoError(t, err)
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err)
	compattest.RequireCloses(t, d.Close)
	require.NoError(t, ln.Close())
	require.NoError(t, cm.Close())
}

// links returns how many endpoints the dialer keeps something of.
func links(d *Dialer) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pool)
}

// unusedLinks returns how many endpoints a dialer remembers and does not ask.
func unusedLinks(d *Dialer) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.pool {
		if l.users == 0 {
			n++
		}
	}
	return n
}
