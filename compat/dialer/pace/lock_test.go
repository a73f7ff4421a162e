package pace

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
)

func TestLock(t *testing.T) {
	var all locks
	addr := netip.MustParseAddrPort("192.0.2.7:9443")
	release, err := all.lock(t.Context(), addr)
	require.NoError(t, err)
	other, err := all.lock(t.Context(), netip.MustParseAddrPort("192.0.2.7:9444"))
	require.NoError(t, err, "another address is no matter")
	other()

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gave up"))
	_, err = all.lock(ctx, addr)
	require.ErrorIs(t, err, context.Canceled)

	next := make(chan func(), 1)
	go func() {
		release, err := all.lock(t.Context(), addr)
		require.NoError(t, err)
		next <- release
	}()
	release()
	compattest.Wait(t, next)()
	require.Empty(t, all.held, "nothing is kept of addresses that nobody dials")
}
