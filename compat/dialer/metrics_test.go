package dialer

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// tracer notes what it is told.
type tracer struct {
	tb   testing.TB
	mu   sync.Mutex
	told []string
}

func (t *tracer) note(took time.Duration, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if took < 0 || took > compattest.Patience {
		t.tb.Errorf("it took %v", took)
	}
	t.told = append(t.told, fmt.Sprintf(format, args...))
}

// takeAll returns what was told since the last time.
func (t *tracer) takeAll() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	told := t.told
	t.told = nil
	return told
}

func (t *tracer) DialCompleted(took time.Duration, r Result) { t.note(took, "dial %s", r) }
func (t *tracer) RequestCompleted(m wire.Type, took time.Duration, r Result) {
	t.note(took, "%s %s", m, r)
}
func (t *tracer) BackoffStarted(wait time.Duration)   { t.note(0, "backoff %v", wait) }
func (t *tracer) AnswerDropped(m wire.Type, size int) { t.note(0, "dropped %s of %d", m, size) }

// untilEnded is a ServeFunc that answers nothing.
func untilEnded(ctx context.Context, s server.Stream, replies func(framing.Frame)) error {
	defer context.AfterFunc(ctx, func() { s.Reset(proto.ResetShutdown) })()
	in := framing.NewReader(s)
	for {
		f, err := in.Next()
		if err != nil {
			return err
		}
		replies(f)
	}
}

func TestMetricsTracer(t *testing.T) {
	e := compattest.StartErlang(t, "127.0.0.1:0")
	told := &tracer{tb: t}
	d := newDialer(t, WithMetricsTracer(told), within(compattest.Patience, 5*soon), backoff(time.Hour))
	to := compattest.At(e.Endpoint())

	_, err := client.Ping(compattest.Context(t), d, to)
	require.NoError(t, err)
	require.Equal(t, []string{"dial ok", "ping ok"}, told.takeAll())
	require.NoError(t, d.Send(compattest.Context(t), to, &wire.Store{Key: []byte("k"), Value: compattest.Provider("n")}))
	require.Equal(t, []string{"store ok"}, told.takeAll(), "over the same connection")

	_, err = d.Query(compattest.Context(t), to, &wire.FindNode{Target: []byte("k")})
	require.ErrorIs(t, err, safety.ErrFindNode)
	require.Equal(t, []string{"find_node not_sent"}, told.takeAll())

	e.ReplyWith(func(framing.Frame) []byte { return compattest.Frames(t, &wire.FindNodeReply{}) })
	_, err = client.Ping(compattest.Context(t), d, to)
	require.ErrorIs(t, err, proto.ErrRemote)
	require.Equal(t, []string{"ping remote_error"}, told.takeAll())
	e.ReplyWith(nil)

	c, err := d.Acquire(compattest.Context(t), mustParse(t, e.Endpoint()).Endpoint)
	require.NoError(t, err)
	defer c.Release()
	s, err := c.Connect(compattest.Context(t), &wire.Connect{Version: "1.0", NodeID: []byte("me"), RealmID: glass.DefaultRealm, Endpoint: "https://127.0.0.1:1"}, untilEnded)
	require.NoError(t, err)
	require.Equal(t, []string{"connect ok"}, told.takeAll())
	s.Close()
	require.Empty(t, told.takeAll())

	letGo := e.HoldReplies(wire.TypePing)
	defer letGo()
	_, err = client.Ping(compattest.Context(t), d, to)
	require.ErrorIs(t, err, ErrNoReply)
	_, err = client.Ping(compattest.Context(t), d, to)
	require.ErrorIs(t, err, ErrBackoff)
	require.Equal(t, []string{"dial ok", "backoff 1h0m0s", "ping timeout", "ping backoff"}, told.takeAll())

	_, err = New(WithMetricsTracer(nil))
	require.ErrorContains(t, err, "no metrics tracer")
}

func TestResults(t *testing.T) {
	for want, err := range map[Result]error{
		ResultOK:          nil,
		ResultClosed:      proto.ErrClosed,
		ResultCertificate: identity.ErrCertificate,
		ResultRemoteError: &proto.RefusedError{Reason: "realm_mismatch"},
		ResultTimeout:     fmt.Errorf("%w: %w", proto.ErrUnreachable, context.DeadlineExceeded),
		ResultCanceled:    fmt.Errorf("%w: changed its mind", proto.ErrUnanswered),
		ResultUnreachable: fmt.Errorf("%w: network is down", proto.ErrUnreachable),
		ResultBackoff:     fmt.Errorf("ping: %w", ErrBackoff),
		ResultNotSent:     fmt.Errorf("%w: a list", safety.ErrHarmful),
	} {
		require.Equal(t, want, resultOf(err), err)
	}
}
