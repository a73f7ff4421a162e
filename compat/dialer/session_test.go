package dialer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func ourConnect() *wire.Connect {
	return &wire.Connect{Version: "1.0", NodeID: []byte("me"), RealmID: glass.DefaultRealm, Endpoint: "https://127.0.0.1:1"}
}

// hold returns a hold on the connection to a node, released with the test.
func hold(tb testing.TB, d *Dialer, e *compattest.Erlang) *Conn {
	tb.Helper()
	c, err := d.Acquire(compattest.Context(tb), mustParse(tb, e.Endpoint()).Endpoint)
	require.NoError(tb, err)
	tb.Cleanup(c.Release)
	return c
}

func TestSession(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t)
	c := hold(t, d, e)
	s, err := c.Connect(compattest.Context(t), ourConnect(), untilEnded)
	require.NoError(t, err)
	require.Equal(t, e.NodeID(), s.NodeID)
	require.NoError(t, s.Err())
	require.True(t, c.Current())
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err)
	require.Equal(t, 1, e.Stats().Accepted, "questions go over the same connection")

	n, err := e.Push(&wire.Disconnect{Reason: "shutting_down"})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	compattest.Wait(t, s.Done())
	require.ErrorIs(t, s.Err(), ErrDisconnected)

	s.Close()
	s.Close()
	require.False(t, c.Current())
	_, err = c.Connect(compattest.Context(t), ourConnect(), untilEnded)
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorIs(t, err, proto.ErrUnreachable)
	require.Equal(t, 1, e.Count(wire.TypeConnect), "nothing was sent")
	c.Release()
	compattest.Eventually(t, func() bool { return e.Stats().Open == 0 }, "the connection went with the session")
	e.RequireUnharmed()
}

// Who gives up before the PONG has come waits for it a moment longer.
func TestConnectGivenUp(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypeConnect)
	defer letGo()
	c := hold(t, newDialer(t), e)
	ctx, cancel := context.WithCancel(t.Context())
	result := compattest.InBackground(func() error {
		s, err := c.Connect(ctx, ourConnect(), untilEnded)
		if err == nil {
			s.Close()
		}
		return err
	})
	compattest.Eventually(t, func() bool { return e.Count(wire.TypeConnect) == 1 }, "CONNECT")
	cancel()
	time.AfterFunc(soon, letGo)
	require.NoError(t, compattest.Wait(t, result))
	e.RequireUnharmed()
}

// A dialer that closes ends its sessions.
func TestCloseEndsSessions(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlang(t, "127.0.0.1:0")
	d := newDialer(t)
	s, err := hold(t, d, e).Connect(compattest.Context(t), ourConnect(), untilEnded)
	require.NoError(t, err)
	compattest.RequireCloses(t, d.Close)
	compattest.Wait(t, s.Done())
	require.Error(t, s.Err())
}

// Who gives up before CONNECT has left, or before its PONG has come, has the node
// neither left alone nor, in the first case, its connection given up.
func TestConnectGivenUpIsNoFaultOfTheNode(t *testing.T) {
	t.Parallel()
	e := compattest.StartErlang(t, "127.0.0.1:0")
	letGo := e.HoldReplies(wire.TypeConnect)
	defer letGo()
	d := newDialer(t, backoff(never))
	c := hold(t, d, e)
	given, cancel := context.WithCancel(t.Context())
	cancel()
	for range glass.StreamCredit { // there is no stream to be had
		_, err := c.conn.OpenStream()
		require.NoError(t, err)
	}
	_, err := c.Connect(given, ourConnect(), untilEnded)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, c.Current())
	c.End()
	require.Zero(t, e.Count(wire.TypeConnect))

	c = hold(t, d, e)
	waiting, cancel := context.WithCancel(t.Context())
	result := compattest.InBackground(func() error { _, err := c.Connect(waiting, ourConnect(), untilEnded); return err })
	compattest.Eventually(t, func() bool { return e.Count(wire.TypeConnect) == 1 }, "CONNECT")
	cancel()
	require.ErrorIs(t, compattest.Wait(t, result), proto.ErrUnanswered)
	_, err = client.Ping(compattest.Context(t), d, compattest.At(e.Endpoint()))
	require.NoError(t, err, "it is asked as before")
	letGo()
	e.RequireUnharmed()
}

// What is too long for a node to take is not dropped in silence.
func TestDroppedAnswersAreTold(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	told := &tracer{tb: t}
	var logged lines
	d := newDialer(t, WithMetricsTracer(told), WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
	tooLong := wire.Pair{Key: "metadata", Value: wire.RawBytes(make([]byte, safety.MaxFrame))}
	long := compattest.Frames(t, &wire.FindValueReply{Values: []wire.Raw{compattest.Provider("p", tooLong)}})
	s, err := hold(t, d, e).Connect(compattest.Context(t), ourConnect(), func(ctx context.Context, s server.Stream, replies func(framing.Frame)) error {
		for range 3 {
			if _, err := s.Write(long); err != nil {
				return err
			}
		}
		return untilEnded(ctx, s, replies)
	})
	require.NoError(t, err)
	defer s.Close()
	dropped := fmt.Sprintf("dropped find_value_reply of %d", len(long))
	require.Equal(t, []string{dropped, dropped, dropped}, slices.DeleteFunc(told.takeAll(), func(s string) bool { return !strings.HasPrefix(s, "dropped") }))
	require.Equal(t, 1, strings.Count(logged.String(), "too long for an Erlang node"), "and not each time")
	require.Contains(t, logged.String(), "find_value_reply")
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
