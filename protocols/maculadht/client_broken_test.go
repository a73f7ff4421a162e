package maculadht

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// A request that its caller gave up keeps its place: the late reply is its own,
// and the next one's is the next one's.
func TestClientCancelledKeepsItsSlot(t *testing.T) {
	const slots = 4
	server := newHost(t)
	arrived, release := make(chan int64, 2*slots), make(chan struct{})
	opened := script(t, server, func(_ int, s *scripted) {
		var asked []*wire.Ping
		for len(asked) < slots {
			ping := s.next().(*wire.Ping)
			asked = append(asked, ping)
			arrived <- ping.Timestamp.V
		}
		<-release
		s.reply(&wire.Pong{Timestamp: asked[0].Timestamp})
		ping := s.next().(*wire.Ping) // there is room for it now, and not before
		arrived <- ping.Timestamp.V
		for _, p := range append(asked[1:], ping) {
			s.reply(&wire.Pong{Timestamp: p.Timestamp})
		}
		s.answer()
	})
	client := newClient(t, newHost(t), ClientStreams(1, slots))
	to := contactTo(server)
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
		go func() { rest <- ask(testContext(t), i) }()
		require.Equal(t, i, <-arrived)
	}
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)

	go func() { rest <- ask(testContext(t), slots) }()
	short, cancelShort := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelShort()
	require.ErrorIs(t, ask(short, 99), context.DeadlineExceeded, "all slots are taken")
	require.Empty(t, arrived)

	close(release)
	require.Equal(t, int64(slots), <-arrived)
	for range slots {
		require.NoError(t, <-rest)
	}
	require.NoError(t, ask(testContext(t), 7))
	require.Equal(t, int32(1), opened.Load())
}

// A stream that breaks fails a CALL; anything else is asked once more, on a
// fresh stream.
func TestClientAsksOnceMore(t *testing.T) {
	server := newHost(t)
	again := make(chan wire.Type, 10)
	opened := script(t, server, func(n int, s *scripted) {
		if n == 1 {
			for range 4 {
				s.next()
			}
			s.ResetWithError(network.StreamErrorCode(ResetTimeout))
			return
		}
		for m := s.next(); m != nil; m = s.next() {
			again <- m.Type()
			switch m := m.(type) {
			case *wire.Ping:
				s.reply(&wire.Pong{Timestamp: m.Timestamp})
			case *wire.FindValue:
				s.reply(&wire.FindValueReply{})
			case *wire.FindNode:
				s.reply(&wire.FindNodeReply{})
			}
		}
	})
	client := newClient(t, newHost(t))
	ctx, to := testContext(t), contactTo(server)
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
	require.ErrorIs(t, called, routing.ErrUnreachable)
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
		serve func(s *scripted) (ResetCode, error) // the code by which the client ended the stream
		want  error
		text  string
		code  ResetCode // ResetTimeout where there is no reply to wait for
	}{
		{"refuses", func(s *scripted) (ResetCode, error) {
			s.next()
			return 0, s.ResetWithError(network.StreamErrorCode(ResetRefused))
		}, routing.ErrRefused, "refused", 0},
		{"resets", func(s *scripted) (ResetCode, error) {
			s.next()
			return 0, s.ResetWithError(network.StreamErrorCode(ResetShutdown))
		}, routing.ErrUnreachable, "shutting down", 0},
		{"closes", func(s *scripted) (ResetCode, error) {
			s.next()
			return 0, s.Close()
		}, routing.ErrUnreachable, "EOF", 0},
		{"answers with another type", func(s *scripted) (ResetCode, error) {
			s.next()
			s.reply(&wire.FindNodeReply{})
			return s.resetBy()
		}, routing.ErrRemote, "find_node_reply", ResetWrongReply},
		{"answers before it is asked", func(s *scripted) (ResetCode, error) {
			m := s.next().(*wire.Ping)
			s.reply(&wire.FindValueReply{})
			s.reply(&wire.Pong{Timestamp: m.Timestamp})
			return s.resetBy()
		}, routing.ErrRemote, "find_value_reply", ResetWrongReply},
		{"answers in another version", func(s *scripted) (ResetCode, error) {
			s.next()
			s.Write([]byte{2, 4, 0, 0, 0, 0, 0, 0})
			return s.resetBy()
		}, routing.ErrUnreachable, "version", ResetBadVersion},
		{"answers with too much", func(s *scripted) (ResetCode, error) {
			s.next()
			s.Write([]byte{1, 4, 0, 0, 0xff, 0, 0, 0})
			return s.resetBy()
		}, routing.ErrUnreachable, "too large", ResetTooLarge},
		{"never answers", func(s *scripted) (ResetCode, error) {
			return s.resetBy()
		}, routing.ErrUnreachable, "no reply within " + noReply.String(), ResetTimeout},
		{"answers half", func(s *scripted) (ResetCode, error) {
			s.Write([]byte{1, 4, 0, 0, 0, 0, 0, 9, 0x80})
			return s.resetBy()
		}, routing.ErrUnreachable, "no reply within " + noReply.String(), ResetTimeout},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := newHost(t)
			type end struct {
				code ResetCode
				err  error
			}
			ends := make(chan end, 10)
			opened := script(t, server, func(_ int, s *scripted) {
				code, err := test.serve(s)
				ends <- end{code, err}
			})
			h, timeout := newHost(t), patience
			if test.code == ResetTimeout {
				timeout = noReply
			}
			connect(t, h, server) // which would take of the time for a reply
			client := newClient(t, h, ClientTimeout(timeout))
			_, err := Ping(testContext(t), client, contactTo(server))
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
	server := newHost(t)
	replies := make(chan []byte, 1)
	opened := script(t, server, func(_ int, s *scripted) {
		for s.next() != nil {
			s.Write(<-replies)
		}
	})
	client := newClient(t, newHost(t))
	ctx, to := testContext(t), contactTo(server)
	ping, find := &wire.Ping{Timestamp: wire.Some[int64](1)}, &wire.FindValue{Key: []byte("k")}
	call := &wire.Call{Procedure: "p", CallID: []byte("mine")}
	tests := []struct {
		name  string
		ask   wire.Message
		reply []byte
		code  string
	}{
		{"broken MessagePack", ping, frame(wire.TypePong, 0xc1), "bad_reply"},
		{"no map", ping, frame(wire.TypePong, 0x90), "bad_reply"},
		{"neither value nor nodes", find, frame(wire.TypeFindValueReply, 0x80), "bad_reply"},
		{"an error", find, frames(t, &wire.FindValueReply{Reason: "busy"}), "busy"},
		{"an error of find_node", &wire.FindNode{Target: []byte("t")}, frames(t, &wire.FindNodeReply{Reason: "busy"}), "busy"},
		{"another call's reply", call, frames(t, &wire.Reply{CallID: []byte("yours"), Result: storeOK}), "wrong_call_id"},
		{"a call's error", call, frames(t, &wire.Reply{CallID: []byte("mine"), Error: &wire.CallError{Code: "oops", Message: "why"}}), "oops"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			replies <- test.reply
			_, err := client.Query(ctx, to, test.ask)
			var remote *routing.RemoteError
			require.ErrorAs(t, err, &remote)
			require.Equal(t, test.code, remote.Code)
		})
	}
	replies <- frames(t, &wire.Pong{Timestamp: wire.Some[int64](2)})
	_, err := Ping(ctx, client, to)
	require.ErrorIs(t, err, routing.ErrRemote, "another PING's timestamp")
	require.Equal(t, int32(1), opened.Load())
}

// Close fails what is under way, at once.
func TestClientClose(t *testing.T) {
	server := newHost(t)
	arrived := make(chan ResetCode, 2)
	asked := make(chan struct{}, 100)
	script(t, server, func(_ int, s *scripted) {
		for {
			f, err := s.in.Next()
			if err != nil {
				reset, _ := err.(*network.StreamError)
				if reset != nil {
					arrived <- ResetCode(reset.ErrorCode)
				}
				return
			}
			_ = f
			asked <- struct{}{}
		}
	})
	client := newClient(t, newHost(t))
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() { errs <- pingOnly(testContext(t), client, contactTo(server)) }()
	}
	for range cap(errs) {
		<-asked
	}
	start := time.Now()
	require.NoError(t, client.Close())
	for range cap(errs) {
		require.ErrorIs(t, <-errs, ErrClosed)
	}
	require.Less(t, time.Since(start), DefaultQueryTimeout/2)
	require.Equal(t, ResetShutdown, <-arrived)
	require.ErrorIs(t, pingOnly(testContext(t), client, contactTo(server)), ErrClosed)
	require.ErrorIs(t, client.Send(testContext(t), contactTo(server), &wire.Store{Key: []byte("k"), Value: valueOf("p")}), ErrClosed)
	require.NoError(t, client.Close())
	require.Zero(t, lanesOf(client))
}
