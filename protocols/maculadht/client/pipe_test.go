package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// fakeHost opens streams in memory. dial makes each of them, counted from 1.
type fakeHost struct {
	host.Host

	dial func(ctx context.Context, n int) (*fakeStream, error)

	mu     sync.Mutex
	opened int
}

func (h *fakeHost) NewStream(ctx context.Context, _ peer.ID, _ ...protocol.ID) (network.Stream, error) {
	h.mu.Lock()
	h.opened++
	n := h.opened
	h.mu.Unlock()
	s, err := h.dial(ctx, n)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (h *fakeHost) streams() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opened
}

// fakeStream is the client's end of a stream in memory.
type fakeStream struct {
	network.Stream // for what the client does not use

	ours net.Conn
	peer net.Conn
	mu   sync.Mutex
	ends []end
}

// end is how the client ended a stream, and when.
type end struct {
	closed bool
	code   proto.ResetCode
	at     time.Time
}

func newFakeStream() *fakeStream {
	ours, theirs := net.Pipe()
	return &fakeStream{ours: ours, peer: theirs}
}

func (s *fakeStream) note(e end) {
	e.at = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, e)
}

func (s *fakeStream) Close() error {
	s.note(end{closed: true})
	return s.ours.Close()
}

func (s *fakeStream) Reset() error { return s.ResetWithError(0) }

func (s *fakeStream) ResetWithError(code network.StreamErrorCode) error {
	s.note(end{code: proto.ResetCode(code)})
	return s.ours.Close()
}

func (s *fakeStream) Read(b []byte) (int, error)         { return s.ours.Read(b) }
func (s *fakeStream) Write(b []byte) (int, error)        { return s.ours.Write(b) }
func (s *fakeStream) SetReadDeadline(t time.Time) error  { return s.ours.SetReadDeadline(t) }
func (s *fakeStream) SetWriteDeadline(t time.Time) error { return s.ours.SetWriteDeadline(t) }
func (s *fakeStream) SetDeadline(t time.Time) error      { return s.ours.SetDeadline(t) }
func (s *fakeStream) Scope() network.StreamScope         { return &network.NullScope{} }

// first returns how the client ended the stream.
func (s *fakeStream) first() end {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ends) == 0 {
		return end{}
	}
	return s.ends[0]
}

// pong answers PINGs until the stream ends.
func (s *fakeStream) pong() {
	in := framing.NewReader(s.peer)
	for {
		f, err := in.Next()
		if err != nil {
			return
		}
		if f.Type == wire.TypePing {
			var ping wire.Ping
			ping.Decode(f.Payload)
			b, _ := framing.AppendFrame(nil, &wire.Pong{Timestamp: ping.Timestamp})
			s.peer.Write(b)
		}
	}
}

// bubble runs a client on a fake host where no real time passes.
func bubble(t *testing.T, dial func(ctx context.Context, n int) (*fakeStream, error), run func(t *testing.T, h *fakeHost, c *Client)) {
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHost{dial: dial}
		c, err := New(h)
		require.NoError(t, err)
		run(t, h, c)
		require.NoError(t, c.Close())
		synctest.Wait()
		require.Zero(t, lanesOf(c))
	})
}

var somebody = routing.Contact{Peer: "somebody"}

func TestPipeIdle(t *testing.T) {
	var s *fakeStream
	bubble(t, func(context.Context, int) (*fakeStream, error) {
		s = newFakeStream()
		go s.pong()
		return s, nil
	}, func(t *testing.T, h *fakeHost, c *Client) {
		for range 100 { // in use
			require.NoError(t, pingOnly(t.Context(), c, somebody))
			time.Sleep(proto.ClientIdle - time.Second)
		}
		require.NoError(t, c.Send(t.Context(), somebody, &wire.Store{Key: []byte("k"), Value: dhttest.Value("p")}))
		used := time.Now()
		require.Equal(t, 1, h.streams())
		time.Sleep(proto.ClientIdle + time.Second)
		require.Equal(t, end{closed: true, at: used.Add(proto.ClientIdle)}, s.first(), "closed in order")
		require.Zero(t, lanesOf(c))

		require.NoError(t, pingOnly(t.Context(), c, somebody))
		require.Equal(t, 2, h.streams())
	})
}

// The time of a reply runs from its request, not from the last sign of life.
func TestPipeReplyOverdue(t *testing.T) {
	var first *fakeStream
	bubble(t, func(_ context.Context, n int) (*fakeStream, error) {
		s := newFakeStream()
		if n == 1 {
			first = s
			go framing.NewReader(s.peer).Next() // taken, and nothing more
		} else {
			go s.pong()
		}
		return s, nil
	}, func(t *testing.T, h *fakeHost, c *Client) {
		start := time.Now()
		require.NoError(t, pingOnly(t.Context(), c, somebody), "asked once more")
		require.Equal(t, end{code: proto.ResetTimeout, at: start.Add(DefaultLimits().Timeout)}, first.first())
		require.Equal(t, DefaultLimits().Timeout, time.Since(start))
	})
}

// A peer that takes nothing holds up its own requests only, and not Close.
func TestPipeWriteBlocks(t *testing.T) {
	bubble(t, func(_ context.Context, n int) (*fakeStream, error) {
		return newFakeStream(), nil // nobody reads
	}, func(t *testing.T, h *fakeHost, c *Client) {
		failed := make(chan error, 1)
		start := time.Now()
		go func() {
			failed <- c.Send(t.Context(), somebody, &wire.Store{Key: []byte("k"), Value: dhttest.Value("p")})
		}()
		require.ErrorIs(t, <-failed, proto.ErrUnreachable)
		require.Equal(t, 2*DefaultLimits().Timeout, time.Since(start), "tried twice")

		go func() { failed <- pingOnly(t.Context(), c, somebody) }()
		synctest.Wait()
		start = time.Now()
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-failed, proto.ErrClosed)
		require.Zero(t, time.Since(start))
	})
}

// All who want a stream wait for the one that is being opened, and share what
// comes of it; none of them ends it for the others.
func TestLaneOpensOneStreamAtATime(t *testing.T) {
	refused := &swarm.DialError{Cause: errors.New("connection refused")}
	var results chan error // made within the bubble
	bubble(t, func(ctx context.Context, n int) (*fakeStream, error) {
		select {
		case err := <-results:
			if err != nil {
				return nil, err
			}
			s := newFakeStream()
			go s.pong()
			return s, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, func(t *testing.T, h *fakeHost, c *Client) {
		const callers = 50
		results = make(chan error, 1)
		errs := make(chan error, callers)
		ask := func() {
			for range callers {
				go func() { errs <- pingOnly(t.Context(), c, somebody) }()
			}
			synctest.Wait()
		}

		cancelled, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- pingOnly(cancelled, c, somebody) }()
		synctest.Wait()
		ask()
		cancel()
		require.ErrorIs(t, <-first, context.Canceled)
		require.Equal(t, 1, h.streams())
		results <- refused
		for range callers {
			err := <-errs
			require.ErrorIs(t, err, proto.ErrUnreachable)
			require.ErrorIs(t, err, refused)
		}
		require.Equal(t, 1, h.streams())

		ask()
		results <- nil
		for range callers {
			require.NoError(t, <-errs)
		}
		start := time.Now()
		require.NoError(t, c.Close())
		require.Zero(t, time.Since(start))
	})
}

// Opening a stream takes as long as a reply may, and ends with the client.
func TestLaneOpeningEnds(t *testing.T) {
	bubble(t, func(ctx context.Context, _ int) (*fakeStream, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, func(t *testing.T, h *fakeHost, c *Client) {
		start := time.Now()
		require.ErrorIs(t, pingOnly(t.Context(), c, somebody), proto.ErrUnreachable)
		require.Equal(t, DefaultLimits().Timeout, time.Since(start))

		failed := make(chan error, 1)
		go func() { failed <- pingOnly(t.Context(), c, somebody) }()
		synctest.Wait()
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-failed, proto.ErrClosed)
	})
}

// Requests that break all at once share the few fresh streams there may be.
func TestLaneDoesNotStorm(t *testing.T) {
	callers := DefaultLimits().Streams * DefaultLimits().Pipeline
	var mu sync.Mutex
	var streams []*fakeStream
	bubble(t, func(_ context.Context, n int) (*fakeStream, error) {
		s := newFakeStream()
		mu.Lock()
		streams = append(streams, s)
		mu.Unlock()
		if n > DefaultLimits().Streams {
			go s.pong()
		} else {
			go func() {
				for in := framing.NewReader(s.peer); ; {
					if _, err := in.Next(); err != nil {
						return
					}
				}
			}()
		}
		return s, nil
	}, func(t *testing.T, h *fakeHost, c *Client) {
		errs := make(chan error, callers)
		for range callers {
			go func() { errs <- pingOnly(t.Context(), c, somebody) }()
		}
		synctest.Wait()
		require.Equal(t, DefaultLimits().Streams, h.streams())
		for _, s := range streams[:DefaultLimits().Streams] {
			s.peer.Close()
		}
		for range callers {
			require.NoError(t, <-errs)
		}
		require.LessOrEqual(t, h.streams(), 2*DefaultLimits().Streams)
	})
}

// A connection that the peer does not know any more is made anew, as soon as the
// host has seen that; one that can not be made is not tried twice.
func TestOpenStreamAfterALostConnection(t *testing.T) {
	lost, unmade := errors.New("received a stateless reset"), &swarm.DialError{Cause: errors.New("connection refused")}
	for name, test := range map[string]struct {
		fails []error
		dials int
		err   error
	}{
		"lost once":        {[]error{lost}, 2, nil},
		"lost, seen late":  {[]error{lost, lost, lost}, 4, nil},
		"lost, not seen":   {slices.Repeat([]error{lost}, 100), 8, lost},
		"could not dial":   {[]error{unmade}, 1, unmade},
		"there was none":   {[]error{network.ErrNoConn}, 1, network.ErrNoConn},
		"through a relay":  {[]error{network.ErrLimitedConn}, 1, network.ErrLimitedConn},
		"lost, then gone":  {[]error{lost, unmade}, 2, unmade},
		"there throughout": {nil, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dials := 0
			bubble(t, func(context.Context, int) (*fakeStream, error) {
				dials++
				if dials <= len(test.fails) {
					return nil, test.fails[dials-1]
				}
				s := newFakeStream()
				go s.pong()
				return s, nil
			}, func(t *testing.T, _ *fakeHost, c *Client) {
				err := pingOnly(t.Context(), c, somebody)
				require.Equal(t, test.dials, dials)
				if test.err == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, test.err)
					require.ErrorIs(t, err, proto.ErrUnreachable)
				}
			})
		})
	}
}

func (*fakeHost) ConnManager() connmgr.ConnManager { return connmgr.NullConnMgr{} }
