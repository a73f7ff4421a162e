package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func TestServeTimes(t *testing.T) {
	ping := &wire.Ping{}
	connect := &wire.Connect{NodeID: []byte("n"), RealmID: proto.DefaultRealm}
	keep := server.LibP2P()
	keep.Idle, keep.KeepConnected = 180*time.Second, true
	tests := []struct {
		name    string
		dialect server.Dialect
		run     func(s *talk)
	}{
		{"idle from the start", server.LibP2P(), func(s *talk) {
			s.RequireReset(proto.ResetTimeout, proto.ServerIdle)
		}},
		{"idle in another dialect", keep, func(s *talk) {
			s.RequireReset(proto.ResetTimeout, 180*time.Second)
		}},
		{"never idle for long", server.LibP2P(), func(s *talk) {
			for range 60 {
				time.Sleep(proto.ServerIdle - time.Second)
				s.Ask(ping)
			}
			s.RequireEnd()
		}},
		{"what has no reply is a sign of life too", server.LibP2P(), func(s *talk) {
			for range 3 {
				time.Sleep(proto.ServerIdle - time.Second)
				s.Send(dhttest.Frame(0xee))
			}
			s.RequireReset(proto.ResetTimeout, 4*proto.ServerIdle-3*time.Second)
		}},
		{"connected, where that keeps it", keep, func(s *talk) {
			s.Ask(connect)
			time.Sleep(24 * time.Hour)
			s.Ask(ping)
			s.RequireEnd()
		}},
		{"connected, where it does not", server.LibP2P(), func(s *talk) {
			s.Ask(connect)
			s.RequireReset(proto.ResetTimeout, proto.ServerIdle)
		}},
		{"half a frame", server.LibP2P(), func(s *talk) {
			time.Sleep(time.Minute)
			s.Send(dhttest.Frames(s.T, ping)[:5])
			s.RequireReset(proto.ResetTimeout, time.Minute+proto.FrameTimeout)
		}},
		{"half a frame, connected", keep, func(s *talk) {
			s.Ask(connect)
			time.Sleep(time.Hour)
			s.Send([]byte{framing.Version})
			time.Sleep(time.Hour)
			s.Send(dhttest.Frames(s.T, ping)[1:])
			_, err := s.In.Next()
			require.NoError(s.T, err)
			s.RequireEnd()
		}},
		{"a frame in drops", server.LibP2P(), func(s *talk) {
			for _, b := range dhttest.Frame(wire.TypePing, 0x80)[:4] {
				s.Send([]byte{b})
				time.Sleep(3 * time.Second) // the last time past the end
			}
			s.RequireReset(proto.ResetTimeout, proto.FrameTimeout)
		}},
		{"a frame just in time", server.LibP2P(), func(s *talk) {
			b := dhttest.Frames(s.T, ping)
			s.Send(b[:1])
			time.Sleep(proto.FrameTimeout - time.Second)
			s.Send(b[1:])
			_, err := s.In.Next()
			require.NoError(s.T, err)
			s.RequireEnd()
		}},
		{"reads that always end within a frame", server.LibP2P(), func(s *talk) {
			b := dhttest.Frames(s.T, ping)
			s.Send(b[:1])
			for range 100 { // each takes a second, all of them far more than a frame may
				time.Sleep(time.Second)
				s.Send(append(b[1:len(b):len(b)], b[0]))
				_, err := s.In.Next()
				require.NoError(s.T, err)
			}
			s.RequireReset(proto.ResetTimeout, 100*time.Second+proto.FrameTimeout)
		}},
		{"a reply that nobody takes", server.LibP2P(), func(s *talk) {
			s.Send(dhttest.Frames(s.T, ping))
			s.RequireReset(proto.ResetTimeout, proto.FrameTimeout)
		}},
		{"shutting down", server.LibP2P(), func(s *talk) {
			s.Ask(ping)
			time.Sleep(time.Second)
			s.Shutdown()
			s.RequireReset(proto.ResetShutdown, time.Second)
		}},
		{"shutting down while a reply waits", server.LibP2P(), func(s *talk) {
			s.Send(dhttest.Frames(s.T, ping))
			time.Sleep(time.Second)
			s.Shutdown()
			s.RequireReset(proto.ResetShutdown, time.Second)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test.run(openTalk(t, func(s *server.Session) { s.Dialect = test.dialect })) })
		})
	}
}

// Wherever the bytes are cut, the frames are the same.
func TestServeSplitAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openTalk(t, func(s *server.Session) { s.Dialect = server.LibP2P() })
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
				f, err := s.In.Next()
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
			_, err := s.In.Next()
			require.NoError(t, err)
		}
		s.RequireEnd()
	})
}

// A burst of requests is answered in few Writes, and a lone reply in one.
func TestServeWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openTalk(t, func(s *server.Session) { s.Dialect = server.LibP2P() })
		ping := dhttest.Frames(t, &wire.Ping{})
		pong := make([]byte, 4096)
		s.Send(ping)
		one, err := s.Read(pong)
		require.NoError(t, err)
		_, rest, err := framing.DecodeFrame(pong[:one])
		require.NoError(t, err)
		require.Empty(t, rest)

		var burst []byte
		for range 50 {
			burst = append(burst, ping...)
		}
		s.Send(burst)
		n, err := s.Read(pong)
		require.NoError(t, err)
		require.Equal(t, 50*one, n)
		s.RequireEnd()
	})
}
