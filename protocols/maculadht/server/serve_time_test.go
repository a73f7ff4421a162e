package server

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// memStream is a stream in memory. A Write waits for the Read that takes it, so
// a test chooses what each Read brings.
type memStream struct {
	net.Conn

	once  sync.Once
	reset chan resetAt
}

type resetAt struct {
	code proto.ResetCode
	at   time.Time
}

func (s *memStream) Reset(code proto.ResetCode) {
	s.once.Do(func() { s.reset <- resetAt{code, time.Now()} })
	s.Conn.Close()
}

// served is a stream in a synctest bubble, and what became of the serving of it.
type served struct {
	net.Conn // the peer's end

	t        *testing.T
	in       *wire.Reader
	handlers *Handlers
	stream   *memStream
	shutdown context.CancelFunc
	started  time.Time
	ended    chan error
}

// serveMem serves a stream in memory; the bubble ends when it has ended.
func serveMem(t *testing.T, d Dialect) *served {
	t.Helper()
	server, err := routing.NewServer(routing.ID{})
	require.NoError(t, err)
	h, err := New(server)
	require.NoError(t, err)
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	s := &served{
		Conn:     theirs,
		t:        t,
		in:       wire.NewReader(theirs),
		handlers: h,
		stream:   &memStream{Conn: ours, reset: make(chan resetAt, 1)},
		shutdown: cancel,
		started:  time.Now(),
		ended:    make(chan error, 1),
	}
	go func() {
		err := h.Mux().Serve(ctx, s.stream, &Session{Dialect: d})
		cancel()
		server.Close()
		s.ended <- err
	}()
	return s
}

func (s *served) write(b []byte) {
	s.t.Helper()
	_, err := s.Write(b)
	require.NoError(s.t, err)
}

func (s *served) ask(m wire.Message) wire.Message {
	s.t.Helper()
	s.write(dhttest.Frames(s.t, m))
	f, err := s.in.Next()
	require.NoError(s.t, err)
	reply, err := f.Decode()
	require.NoError(s.t, err)
	return reply
}

// requireReset waits for the reset, and requires when it came.
func (s *served) requireReset(code proto.ResetCode, after time.Duration) {
	s.t.Helper()
	reset := <-s.stream.reset
	require.Equal(s.t, code, reset.code)
	require.Equal(s.t, after, reset.at.Sub(s.started))
	require.Error(s.t, <-s.ended)
	require.Equal(s.t, uint64(1), s.handlers.Mux().Stats().Resets[code])
}

// requireClosed closes the peer's end and requires that this ended the stream
// in order.
func (s *served) requireClosed() {
	s.t.Helper()
	require.NoError(s.t, s.Close())
	require.NoError(s.t, <-s.ended)
	require.Empty(s.t, s.stream.reset)
	require.Zero(s.t, s.handlers.Mux().Stats().Resets)
}

func TestServeTimes(t *testing.T) {
	ping := &wire.Ping{}
	connect := &wire.Connect{NodeID: []byte("n"), RealmID: proto.DefaultRealm}
	keep := LibP2P()
	keep.Idle, keep.KeepConnected = 180*time.Second, true
	tests := []struct {
		name    string
		dialect Dialect
		run     func(s *served)
	}{
		{"idle from the start", LibP2P(), func(s *served) {
			s.requireReset(proto.ResetTimeout, proto.ServerIdle)
		}},
		{"idle in another dialect", keep, func(s *served) {
			s.requireReset(proto.ResetTimeout, 180*time.Second)
		}},
		{"never idle for long", LibP2P(), func(s *served) {
			for range 60 {
				time.Sleep(proto.ServerIdle - time.Second)
				s.ask(ping)
			}
			s.requireClosed()
		}},
		{"what has no reply is a sign of life too", LibP2P(), func(s *served) {
			for range 3 {
				time.Sleep(proto.ServerIdle - time.Second)
				s.write(dhttest.Frame(0xee))
			}
			s.requireReset(proto.ResetTimeout, 4*proto.ServerIdle-3*time.Second)
		}},
		{"connected, where that keeps it", keep, func(s *served) {
			s.ask(connect)
			time.Sleep(24 * time.Hour)
			s.ask(ping)
			s.requireClosed()
		}},
		{"connected, where it does not", LibP2P(), func(s *served) {
			s.ask(connect)
			s.requireReset(proto.ResetTimeout, proto.ServerIdle)
		}},
		{"half a frame", LibP2P(), func(s *served) {
			time.Sleep(time.Minute)
			s.write(dhttest.Frames(s.t, ping)[:5])
			s.requireReset(proto.ResetTimeout, time.Minute+proto.FrameTimeout)
		}},
		{"half a frame, connected", keep, func(s *served) {
			s.ask(connect)
			time.Sleep(time.Hour)
			s.write([]byte{wire.Version})
			time.Sleep(time.Hour)
			s.write(dhttest.Frames(s.t, ping)[1:])
			_, err := s.in.Next()
			require.NoError(s.t, err)
			s.requireClosed()
		}},
		{"a frame in drops", LibP2P(), func(s *served) {
			for _, b := range dhttest.Frame(wire.TypePing, 0x80)[:4] {
				s.write([]byte{b})
				time.Sleep(3 * time.Second) // the last time past the end
			}
			s.requireReset(proto.ResetTimeout, proto.FrameTimeout)
		}},
		{"a frame just in time", LibP2P(), func(s *served) {
			b := dhttest.Frames(s.t, ping)
			s.write(b[:1])
			time.Sleep(proto.FrameTimeout - time.Second)
			s.write(b[1:])
			_, err := s.in.Next()
			require.NoError(s.t, err)
			s.requireClosed()
		}},
		{"reads that always end within a frame", LibP2P(), func(s *served) {
			b := dhttest.Frames(s.t, ping)
			s.write(b[:1])
			for range 100 { // each takes a second, all of them far more than a frame may
				time.Sleep(time.Second)
				s.write(append(b[1:len(b):len(b)], b[0]))
				_, err := s.in.Next()
				require.NoError(s.t, err)
			}
			s.requireReset(proto.ResetTimeout, 100*time.Second+proto.FrameTimeout)
		}},
		{"a reply that nobody takes", LibP2P(), func(s *served) {
			s.write(dhttest.Frames(s.t, ping))
			s.requireReset(proto.ResetTimeout, proto.FrameTimeout)
		}},
		{"shutting down", LibP2P(), func(s *served) {
			s.ask(ping)
			time.Sleep(time.Second)
			s.shutdown()
			s.requireReset(proto.ResetShutdown, time.Second)
		}},
		{"shutting down while a reply waits", LibP2P(), func(s *served) {
			s.write(dhttest.Frames(s.t, ping))
			time.Sleep(time.Second)
			s.shutdown()
			s.requireReset(proto.ResetShutdown, time.Second)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test.run(serveMem(t, test.dialect)) })
		})
	}
}

// Wherever the bytes are cut, the frames are the same.
func TestServeSplitAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveMem(t, LibP2P())
		all := dhttest.Frames(t,
			&wire.Store{Key: []byte("k"), Value: dhttest.Value("p")},
			&wire.FindValue{Key: []byte("k")},
			&wire.Ping{Timestamp: wire.Some[int64](1)})
		pieces := make(chan []byte)
		go func() {
			for b := range pieces {
				s.Write(b)
			}
		}()
		for at := range len(all) {
			pieces <- all[:at]
			pieces <- all[at:]
			for _, want := range []wire.Message{
				&wire.FindValueReply{Values: []wire.Raw{dhttest.Value("p")}, ExpiresIn: []int64{86_400}},
				&wire.Pong{Timestamp: wire.Some[int64](1), ServerTime: wire.Some(time.Now().UnixMilli())},
			} {
				f, err := s.in.Next()
				require.NoError(t, err)
				got, err := f.Decode()
				require.NoError(t, err)
				require.Equal(t, want, got, "cut at %d", at)
			}
		}
		go func() {
			for i := range all {
				pieces <- all[i : i+1]
			}
			close(pieces)
		}()
		for range 2 {
			_, err := s.in.Next()
			require.NoError(t, err)
		}
		s.requireClosed()
	})
}

// A burst of requests is answered in few Writes, and a lone reply in one.
func TestServeWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveMem(t, LibP2P())
		ping := dhttest.Frames(t, &wire.Ping{})
		pong := make([]byte, 4096)
		s.write(ping)
		one, err := s.Read(pong)
		require.NoError(t, err)
		_, rest, err := wire.DecodeFrame(pong[:one])
		require.NoError(t, err)
		require.Empty(t, rest)

		var burst []byte
		for range 50 {
			burst = append(burst, ping...)
		}
		s.write(burst)
		n, err := s.Read(pong)
		require.NoError(t, err)
		require.Equal(t, 50*one, n)
		s.requireClosed()
	})
}
