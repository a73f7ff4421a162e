package rpc_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// told counts what a tracer is told.
type told struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *told) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[string]int)
	}
	c.counts[what]++
}

func (c *told) CallDone(r rpc.Result, took time.Duration) {
	if took >= 0 && took < patience {
		c.note(string(r))
	}
}
func (c *told) CallRefused(why rpc.Refusal) { c.note("refused " + string(why)) }
func (c *told) PassedOn()                   { c.note("passed on") }

func TestMetricsTracer(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	var told told
	l := rpc.DefaultLimits()
	l.Time, l.Pending, l.PerCaller = 500*time.Millisecond, 1, 1
	c := app(t, realm, n, rpc.WithMetricsTracer(&told), rpc.WithLimits(l))
	_, err := n.Calls().Serve(within(t), "there", func(_ context.Context, r *rpc.Request) (any, error) { return r.Args, nil })
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := c.Call(within(t), "there", 1); return err == nil }, patience, tick)
	begun := make(chan struct{})
	for name, h := range map[string]rpc.Handler{
		"fails": func(context.Context, *rpc.Request) (any, error) { return nil, errors.New("no") },
		"hangs": func(ctx context.Context, _ *rpc.Request) (any, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		_, err := c.ServeHere(name, h)
		require.NoError(t, err)
	}
	_, err = c.Call(within(t), "fails", nil)
	require.ErrorContains(t, err, "no")
	late := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), l.Time)
	defer cancel()
	go func() {
		_, err := c.Call(ctx, "hangs", nil)
		late <- err
	}()
	<-begun
	_, err = c.Call(within(t), "fails", nil)
	require.ErrorIs(t, err, rpc.ErrBusy)
	require.ErrorIs(t, <-late, rpc.ErrTimeout)
	told.mu.Lock()
	defer told.mu.Unlock()
	require.Equal(t, 1, told.counts["answered"])
	require.Equal(t, 1, told.counts["refused all"])
	require.Equal(t, 1, told.counts["late"])
	require.NotZero(t, told.counts["failed"])
	require.NotZero(t, told.counts["passed on"])
	_, err = rpc.New(n.Service(), rpc.WithMetricsTracer(nil))
	require.ErrorContains(t, err, "metrics tracer is nil")
}
