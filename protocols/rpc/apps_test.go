package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// app is a program with a bare libp2p host, which knows a node.
func app(t *testing.T, of string, at *node.Node, opts ...rpc.Option) *rpc.Calls {
	t.Helper()
	h, err := libp2p.New(libp2p.NoTransports, libp2p.Transport(libp2pquic.NewTransport), libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	s, err := maculadht.New(h, maculadht.WithRealm(of))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	c, err := rpc.New(s, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	if at != nil {
		require.NoError(t, s.Join(within(t), peer.AddrInfo{ID: at.Host().ID(), Addrs: at.Host().Addrs()}))
		select {
		case <-s.Joined():
		case <-time.After(patience):
			t.Fatal("not joined")
		}
		knows(t, at, h)
	}
	return c
}

func knows(t *testing.T, n *node.Node, h host.Host) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, c := range n.Service().Routing().Contacts() {
			if c.Peer == h.ID() {
				return true
			}
		}
		return false
	}, patience, tick)
}

// greet answers what it is given, and where.
func greet(where string) rpc.Handler {
	return func(_ context.Context, r *rpc.Request) (any, error) {
		var args struct{ Name string }
		if err := r.Unmarshal(&args); err != nil {
			return nil, err
		}
		return map[string]any{"hello": args.Name, "from": where}, nil
	}
}

// Erlang clients and libp2p programs, each at one of two nodes that know each other, call
// what the others serve.
func TestAnythingFromAnywhere(t *testing.T) {
	t.Parallel()
	left, right := startNodes(t)
	vm := world(t)
	serve := func(c *rpc.Calls, where string) {
		_, err := c.Serve(within(t), realm+"."+where, greet(where))
		require.NoError(t, err)
	}
	leftApp, rightApp := app(t, realm, left), app(t, realm, right)
	serve(left.Calls(), "left")
	serve(right.Calls(), "right")
	serve(leftApp, "leftapp")
	serve(rightApp, "rightapp")
	clients := map[string]*glass.Session{"atleft": connect(t, vm, left, ""), "atright": connect(t, vm, right, "")}
	for where, c := range clients {
		c.Advertise(realm + "." + where)
		c.Register(realm+"."+where, func(args []byte) glass.Outcome {
			return glass.Outcome{Result: fmt.Appendf(nil, `{"hello":%q,"from":%q}`, strings.Split(string(args), `"`)[3], where)}
		})
	}
	newer := dial(t, right, "127.0.0.1").as(carol)
	newer.send(&wire.RegisterProcedure{Procedure: realm + ".newer"})
	go newer.answerCalls(func(m *wire.Call) wire.Message {
		name, _ := m.Args.Field("name")
		return &wire.Reply{CallID: m.CallID, Result: wire.RawMap(wire.Pair{Key: "hello", Value: name}, wire.Pair{Key: "from", Value: wire.RawText("newer")})}
	})

	all := []string{"left", "right", "leftapp", "rightapp", "atleft", "atright", "newer"}
	for name, c := range map[string]*rpc.Calls{"left": left.Calls(), "right": right.Calls(), "leftapp": leftApp, "rightapp": rightApp} {
		for _, where := range all {
			t.Run(name+" calls "+where, func(t *testing.T) {
				require.EventuallyWithT(t, func(e *assert.CollectT) { // its record is on its way
					raw, err := c.Call(within(t), realm+"."+where, map[string]string{"name": name})
					if !assert.NoError(e, err) {
						return
					}
					var got struct{ Hello, From string }
					assert.NoError(e, wire.Unmarshal(raw, &got))
					assert.Equal(e, [2]string{name, where}, [2]string{got.Hello, got.From})
				}, patience, 50*time.Millisecond)
			})
		}
	}
	for name, c := range clients {
		for _, where := range all {
			t.Run(name+" calls "+where, func(t *testing.T) {
				raw, err := c.Call(within(t), realm+"."+where, fmt.Appendf(nil, `{"name":%q}`, name))
				require.NoError(t, err)
				require.JSONEq(t, fmt.Sprintf(`{"hello":%q,"from":%q}`, name, where), text(raw))
			})
		}
	}
	for _, where := range all {
		t.Run("newer calls "+where, func(t *testing.T) {
			caller := dial(t, left, "127.0.0.1").as("newer-caller--------------------")
			caller.send(&wire.Call{Procedure: realm + "." + where, CallID: []byte("c"), Args: wire.RawMap(wire.Pair{Key: "name", Value: wire.RawText("newer")})})
			reply := caller.message().(*wire.Reply)
			require.Nil(t, reply.Error)
			var got struct{ Hello, From string }
			require.NoError(t, wire.Unmarshal(reply.Result, &got))
			require.Equal(t, [2]string{"newer", where}, [2]string{got.Hello, got.From})
		})
	}
	require.Empty(t, vm.Broken())
	require.NotZero(t, left.Calls().Stats().PassedOn)
}

func TestServe(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	l := rpc.DefaultLimits()
	l.Running, l.Waiting, l.Time = 1, 1, 300*time.Millisecond
	c := app(t, realm, nil, rpc.WithLogger(quiet), rpc.WithLimits(l))
	ctx := within(t)

	t.Run("what can not be served", func(t *testing.T) {
		nothing := func(context.Context, *rpc.Request) (any, error) { return nil, nil }
		for _, name := range []string{"", strings.Repeat("x", 256), wire.ProcedureStore} {
			_, err := c.Serve(ctx, name, nothing)
			require.ErrorIs(t, err, rpc.ErrInvalidRequest)
		}
		_, err := c.Serve(ctx, "p", nil)
		require.ErrorIs(t, err, rpc.ErrInvalidRequest)
		p, err := c.Serve(ctx, "p", nothing)
		require.NoError(t, err)
		_, err = c.Serve(ctx, "p", nothing)
		require.ErrorIs(t, err, rpc.ErrServed)
		require.NoError(t, p.Withdraw())
		_, err = c.Call(ctx, "p", nil)
		require.ErrorIs(t, err, rpc.ErrNotFound)
		p, err = c.Serve(ctx, "p", nothing)
		require.NoError(t, err)
		require.NoError(t, p.Withdraw())
	})
	begun, hold, ended := make(chan struct{}, 10), make(chan struct{}), make(chan error, 10)
	for name, h := range map[string]rpc.Handler{
		"panics": func(context.Context, *rpc.Request) (any, error) { panic("secret") },
		"fails":  func(context.Context, *rpc.Request) (any, error) { return nil, errors.New("no such station") },
		"refuses": func(context.Context, *rpc.Request) (any, error) {
			return nil, &wire.CallError{Code: "closed_today", Message: "Come back"}
		},
		"odd":     func(context.Context, *rpc.Request) (any, error) { return make(chan int), nil },
		"nothing": func(context.Context, *rpc.Request) (any, error) { return nil, nil },
		"slow": func(ctx context.Context, _ *rpc.Request) (any, error) {
			begun <- struct{}{}
			select {
			case <-hold:
			case <-ctx.Done():
			}
			ended <- ctx.Err()
			return nil, ctx.Err()
		},
	} {
		_, err := c.Serve(ctx, name, h)
		require.NoError(t, err)
	}
	for name, test := range map[string]struct{ procedure, code, message string }{
		"a panic":                       {"panics", wire.CodeHandlerCrash, "The procedure broke"},
		"an error":                      {"fails", wire.CodeHandlerError, "no such station"},
		"an error of its own":           {"refuses", "closed_today", "Come back"},
		"a result that can not be told": {"odd", wire.CodeHandlerError, "chan int"},
		"a handler that takes too long": {"slow", wire.CodeTimeout, "in time"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Call(context.Background(), test.procedure, map[string]any{})
			told, ok := errors.AsType[*wire.CallError](err)
			require.True(t, ok, err)
			require.Equal(t, test.code, told.Code)
			require.Contains(t, told.Message, test.message)
		})
	}
	require.Error(t, <-ended, "its context ended with its time")
	raw, err := c.Call(ctx, "nothing", nil)
	require.NoError(t, err)
	require.Equal(t, wire.Nil, raw.Kind())

	t.Run("one at a time", func(t *testing.T) {
		<-begun // of before
		first := make(chan error)
		go func() { _, err := c.Call(ctx, "slow", nil); first <- err }()
		<-begun
		second := make(chan error)
		go func() { _, err := c.Call(ctx, "slow", nil); second <- err }()
		require.Eventually(t, func() bool { return c.Stats().Pending == 2 }, patience, tick)
		_, err := c.Call(ctx, "slow", nil)
		require.ErrorIs(t, err, rpc.ErrBusy)
		require.EqualValues(t, 1, c.Stats().BusyProvider)
		close(hold)
		require.NoError(t, <-first)
		require.NoError(t, <-second)
	})
	t.Run("given up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_, err := c.Call(ctx, "elsewhere", nil)
		require.ErrorIs(t, err, rpc.ErrTimeout)
		require.ErrorIs(t, err, context.Canceled)
	})
	require.Eventually(t, func() bool { return c.Stats().Pending == 0 }, patience, tick)
}

func TestClosedCalls(t *testing.T) {
	t.Parallel()
	h, err := libp2p.New(libp2p.NoTransports, libp2p.Transport(libp2pquic.NewTransport), libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"))
	require.NoError(t, err)
	defer h.Close()
	s, err := maculadht.New(h)
	require.NoError(t, err)
	defer s.Close()
	c, err := rpc.New(s)
	require.NoError(t, err)
	_, err = rpc.New(s)
	require.ErrorIs(t, err, server.ErrHandled)
	began := make(chan struct{})
	_, err = c.Serve(within(t), "p", func(ctx context.Context, _ *rpc.Request) (any, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	require.NoError(t, err)
	done := make(chan error)
	go func() { _, err := c.Call(within(t), "p", nil); done <- err }()
	<-began
	require.NoError(t, c.Close())
	require.Error(t, <-done)
	_, err = c.Call(within(t), "p", nil)
	require.ErrorIs(t, err, rpc.ErrClosed)
	_, err = c.Serve(within(t), "q", greet(""))
	require.ErrorIs(t, err, rpc.ErrClosed)
	require.NoError(t, c.Close())
	require.Empty(t, s.Advertisements())
}

// A node of another realm is not called, nor does it call.
func TestCallsStayInTheirRealm(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	_, err := n.Calls().Serve(within(t), "p", greet("here"))
	require.NoError(t, err)
	stranger := app(t, "another.realm", nil)
	_, err = stranger.Call(within(t), "p", nil)
	require.ErrorIs(t, err, rpc.ErrNotFound)
}

// What is about to be served when the Calls are closed is not advertised after it.
func TestCloseWhileServing(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	var serving sync.WaitGroup
	begun := make(chan struct{}, 1)
	for i := range 16 {
		serving.Go(func() {
			begun <- struct{}{}
			_, err := n.Calls().Serve(within(t), fmt.Sprint("closed.", i), func(context.Context, *rpc.Request) (any, error) { return 1, nil })
			if err != nil {
				assert.ErrorIs(t, err, rpc.ErrClosed)
			}
		})
		<-begun
	}
	require.NoError(t, n.Calls().Close())
	serving.Wait()
	for i := range 16 {
		found, _ := n.Service().FindProviders(within(t), fmt.Sprint("closed.", i))
		require.Empty(t, found)
	}
}
