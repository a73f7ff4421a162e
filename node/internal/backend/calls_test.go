package backend

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// Who does not say how many calls come at once gets as many as the node is set to.
func TestServeAsTheNodeIsSet(t *testing.T) {
	t.Parallel()
	limits := rpc.DefaultLimits()
	limits.Running, limits.Waiting = 1, 1
	r := newRigOf(t, limits)
	end := make(chan struct{})
	release := sync.OnceFunc(func() { close(end) })
	t.Cleanup(release) // before the calls are closed, which waits for them
	withdraw, err := r.Serve(t.Context(), "p", 0, func(context.Context, wire.Raw) (wire.Raw, error) {
		<-end
		return value(t, `1`), nil
	})
	require.NoError(t, err)
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() {
			_, err := r.Call(t.Context(), "p", value(t, `1`))
			ended <- err
		}()
	}
	select {
	case err := <-ended:
		require.ErrorContains(t, err, wire.ReasonBusy)
	case <-time.After(2 * time.Second):
		require.FailNow(t, "three calls have a place, of two")
	}
	release()
	require.NoError(t, <-ended)
	require.NoError(t, <-ended)
	require.NoError(t, withdraw())
}
