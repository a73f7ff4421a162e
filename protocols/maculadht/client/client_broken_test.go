package client

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// A request that its caller gave up keeps its place: the late reply is its own,
// and the next one's is the next one's.
func TestClientCancelledKeepsItsSlot(t *testing.T) {
	const slots = 4
	server := dhttest.Host(t)
	arrived, release := make(chan int64, 2*slots), make(chan struct{})
	opened := dhttest.Script(t, server, func(_ int, s *dhttest.Scripted) {
		var asked []*wire.Ping
		for len(asked) < slots {
			ping := s.Next().(*wire.Ping)
			asked = append(asked, ping)
			arrived <- ping.Timestamp.V
		}
		<-release
		s.Reply(&wire.Pong{Timestamp: asked[0].Timestamp})
		ping := s.Next().(*wire.Ping) // there is room for it now, and not before
		arrived <- ping.Timestamp.V
		for _, p := range append(asked[1:], ping) {
			s.Reply(&wire.Pong{Timestamp: p.Timestamp})
		}
		s.Answer()
	})
	client := newClient(t, dhttest.Host(t), WithLimits(Limits{Streams: 1, Pipeline: slots, Timeout: DefaultLimits().Timeout}))
	to := dhttest.Contact(server)
	ask := func(ctx context.Context, i int64) error {
		pong, err := client.Query(ctx, to, &wire.Ping{Timestamp: wire.Some(i)})
		if err == nil && pong.(*wire.Pong).Timestamp.V != i {
			err = fmt.Errorf("asked %d, answered %d", i, pong.(*wire.Pong).Timestamp.V)
		}
		return err
	}
	cancelled, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- ask(cancelled, 0) }()
	require.Equal(t, int64(0), <-arrived)
	rest := make(chan error, slots)
	for i := int64(1); i < slots; i++ {
		go func() { rest <- ask(dhttest.Context(t), i) }()
		require.Equal(t, i, <-arrived)
	}
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)

	go func() { rest <- ask(dhttest.Context(t), slots) }()
	short, cancelShort := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelShort()
	require.ErrorIs(t, ask(short, 99), context.DeadlineExceeded, "all slots are taken")
	require.Empty(t, arrived)

	close(release)
	require.Equal(t, int64(slots), <-arrived)
	for range slots {
		require.NoError(t, <-rest)
	}
	require.NoError(t, ask(dhttest.Context(t), 7))
	require.Equal(t, int32(1), opened.Load())
}

// A stream that breaks fails a CALL; anything else is asked once more, on a
// fresh stream.
func TestClientAsksOnceMore(t *testing.T) {
	server := dhttest.Host(t)
	again := make(chan wire.Type, 10)
	opened := dhttest.Script(t, server, func(n int, s *dhttest.Scripted) {
		if n == 1 {
			for range 4 {
				s.Next()
			}
			s.ResetWithError(network.StreamErrorCode(proto.ResetTimeout))
			return
		}
		for m := s.Next(); m != nil; m = s.Next() {
			again <- m.Type()
			switch m := m.(type) {
			case *wire.Ping:
				s.Reply(&wire.Pong{Timestamp: m.Timestamp})
			case *wire.FindValue:
				s.Reply(&wire.FindValueReply{})
			case *wire.FindNode:
				s.Reply(&wire.FindNodeReply{})
			}
		}
	})
	client := newClient(t, dhttest.Host(t))
	ctx, to := dhttest.Context(t), dhttest.Contact(server)
	var all sync.WaitGroup
	ask := func(m wire.Message, check func(error)) {
		all.Go(func() {
			_, err := client.Query(ctx, to, m)
			check(err)
		})
	}
	succeeds := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	var called error
	ask(&wire.Ping{}, succeeds)
	ask(&wire.FindValue{Key: []byte("k")}, succeeds)
	ask(&wire.FindNode{Target: []byte("t")}, succeeds)
	ask(&wire.Call{Procedure: "p"}, func(err error) { called = err })
	all.Wait()
	require.ErrorIs(t, called, proto.ErrUnreachable)
	require.ErrorContains(t, called, "timeout")
	require.Len(t, again, 3)
	for range 3 {
		require.NotEqual(t, wire.TypeCall, <-again)
	}
	require.LessOrEqual(t, opened.Load(), int32(2), "all of them on the same fresh stream")
}

// What a peer does to every stream, and what the caller and the peer see of it.
func TestClientGivesUp(t *testing.T) {
	noReply := 150 * time.Millisecond
	tests := []struct {
		name  string
		serve func(s *dhttest.Scripted) (proto.ResetCode, error) // the code by which the client ended the stream
		want  error
		text  string
		code  proto.ResetCode // proto.ResetTimeout where there is no reply to wait for
	}{
		{"refuses", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			s.Next()
			return 0, s.ResetWithError(network.StreamErrorCode(proto.ResetRefused))
		}, proto.ErrRefused, "refused", 0},
		{"resets", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			s.Next()
			return 0, s.ResetWithError(network.StreamErrorCode(proto.ResetShutdown))
		}, proto.ErrUnreachable, "shutting down", 0},
		{"closes", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			s.Next()
			return 0, s.Close()
		}, proto.ErrUnreachable, "EOF", 0},
		{"answers with another type", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			s.Next()
			s.Reply(&wire.FindNodeReply{})
			return s.ResetBy()
		}, proto.ErrRemote, "find_node_reply", proto.ResetWrongReply},
		{"answers before it is asked", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			m := s.Next().(*wire.Ping)
			s.Reply(&wire.FindValueReply{})
			s.Reply(&wire.Pong{Timestamp: m.Timestamp})
			return s.ResetBy()
		}, proto.ErrRemote, "find_value_reply", proto.ResetWrongReply},
		{"answers in another version", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			s.Next()
			s.Write([]byte{2, 4, 0, 0, 0, 0, 0, 0})
			return s.ResetBy()
		}, proto.ErrUnreachable, "version", proto.ResetBadVersion},
		{"answers with too much", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			s.Next()
			s.Write([]byte{1, 4, 0, 0, 0xff, 0, 0, 0})
			return s.ResetBy()
		}, proto.ErrUnreachable, "too large", proto.ResetTooLarge},
		{"never answers", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			return s.ResetBy()
		}, proto.ErrUnreachable, "no reply within " + noReply.String(), proto.ResetTimeout},
		{"answers half", func(s *dhttest.Scripted) (proto.ResetCode, error) {
			s.Write([]byte{1, 4, 0, 0, 0, 0, 0, 9, 0x80})
			return s.ResetBy()
		}, proto.ErrUnreachable, "no reply within " + noReply.String(), proto.ResetTimeout},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := dhttest.Host(t)
			type end struct {
				code proto.ResetCode
				err  error
			}
			ends := make(chan end, 10)
			opened := dhttest.Script(t, server, func(_ int, s *dhttest.Scripted) {
				code, err := test.serve(s)
				ends <- end{code, err}
			})
			h, timeout := dhttest.Host(t), dhttest.Patience
			if test.code == proto.ResetTimeout {
				timeout = noReply
			}
			dhttest.Connect(t, h, server) // which would take of the time for a reply
			client := newClient(t, h, WithLimits(Limits{Streams: 4, Pipeline: 64, Timeout: timeout}))
			_, err := Ping(dhttest.Context(t), client, dhttest.Contact(server))
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.text)
			for range 2 { // asked twice, and no more
				e := <-ends
				require.NoError(t, e.err)
				require.Equal(t, test.code, e.code)
			}
			require.Equal(t, int32(2), opened.Load())
		})
	}
}

// A reply in order may still say nothing that can be used; the stream goes on.
func TestClientBadReplies(t *testing.T) {
	server := dhttest.Host(t)
	replies := make(chan []byte, 1)
	opened := dhttest.Script(t, server, func(_ int, s *dhttest.Scripted) {
		for s.Next() != nil {
			s.Write(<-replies)
		}
	})
	client := newClient(t, dhttest.Host(t))
	ctx, to := dhttest.Context(t), dhttest.Contact(server)
	ping, find := &wire.Ping{Timestamp: wire.Some[int64](1)}, &wire.FindValue{Key: []byte("k")}
	call := &wire.Call{Procedure: "p", CallID: []byte("mine")}
	tests := []struct {
		name  string
		ask   wire.Message
		reply []byte
		code  string
	}{
		{"broken MessagePack", ping, dhttest.Frame(wire.TypePong, 0xc1), wire.CodeBadReply},
		{"no map", ping, dhttest.Frame(wire.TypePong, 0x90), wire.CodeBadReply},
		{"neither value nor nodes", find, dhttest.Frame(wire.TypeFindValueReply, 0x80), wire.CodeBadReply},
		{"an error", find, dhttest.Frames(t, &wire.FindValueReply{Reason: "busy"}), "busy"},
		{"an error of find_node", &wire.FindNode{Target: []byte("t")}, dhttest.Frames(t, &wire.FindNodeReply{Reason: "busy"}), "busy"},
		{"another call's reply", call, dhttest.Frames(t, &wire.Reply{CallID: []byte("yours"), Result: dhttest.StoreOK}), wire.CodeWrongCallID},
		{"a call's error", call, dhttest.Frames(t, &wire.Reply{CallID: []byte("mine"), Error: &wire.CallError{Code: "oops", Message: "why"}}), "oops"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			replies <- test.reply
			_, err := client.Query(ctx, to, test.ask)
			var remote *proto.RemoteError
			require.ErrorAs(t, err, &remote)
			require.Equal(t, test.code, remote.Code)
		})
	}
	replies <- dhttest.Frames(t, &wire.Pong{Timestamp: wire.Some[int64](2)})
	_, err := Ping(ctx, client, to)
	require.ErrorIs(t, err, proto.ErrRemote, "another PING's timestamp")
	require.Equal(t, int32(1), opened.Load())
}

// Close fails what is under way, at once.
func TestClientClose(t *testing.T) {
	server := dhttest.Host(t)
	arrived := make(chan proto.ResetCode, 2)
	asked := make(chan struct{}, 100)
	dhttest.Script(t, server, func(_ int, s *dhttest.Scripted) {
		for {
			f, err := s.In.Next()
			if err != nil {
				reset, _ := err.(*network.StreamError)
				if reset != nil {
					arrived <- proto.ResetCode(reset.ErrorCode)
				}
				return
			}
			_ = f
			asked <- struct{}{}
		}
	})
	client := newClient(t, dhttest.Host(t))
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() { errs <- pingOnly(dhttest.Context(t), client, dhttest.Contact(server)) }()
	}
	for range cap(errs) {
		<-asked
	}
	start := time.Now()
	require.NoError(t, client.Close())
	for range cap(errs) {
		require.ErrorIs(t, <-errs, proto.ErrClosed)
	}
	require.Less(t, time.Since(start), DefaultLimits().Timeout/2)
	require.Equal(t, proto.ResetShutdown, <-arrived)
	require.ErrorIs(t, pingOnly(dhttest.Context(t), client, dhttest.Contact(server)), proto.ErrClosed)
	require.ErrorIs(t, client.Send(dhttest.Context(t), dhttest.Contact(server), &wire.Store{Key: []byte("k"), Value: dhttest.Value("p")}), proto.ErrClosed)
	require.NoError(t, client.Close())
	require.Zero(t, lanesOf(client))
}
