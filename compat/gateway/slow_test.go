package gateway

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// A connection that asks on 64 streams for long answers and reads none holds no
// more than its account has, keeps nobody from an answer, not even one of the same
// address, and leaves nothing behind.
func TestConnectionThatNeverReads(t *testing.T) {
	const streams = 64
	d := openGateway(t)
	filler := wire.Pair{Key: "filler", Value: wire.RawBytes(make([]byte, 60_000))}
	d.store(t, "k", compattest.Provider("p", filler))
	ask := &wire.FindValue{Key: []byte("k")}
	asks := bytes.Repeat(compattest.Frames(t, ask), 1000)
	hog := dialGateway(t, d.addr)
	for range streams {
		s := hog.open()
		go s.Write(asks)
	}
	usage := func() budget.Usage { return d.handlers.Mux().Budget().Usage().Usage }
	most := server.DefaultLimits().Accounts.Source.Memory
	compattest.Eventually(t, func() bool { return usage().Memory > streams*48<<10 }, "all of its streams are stalled")

	honest := dialGateway(t, d.addr)
	for range 20 {
		s := honest.open()
		require.NoError(t, s.SetDeadline(time.Now().Add(compattest.Patience/2)))
		require.Len(t, askFor[*wire.FindValueReply](s, ask).Values, 1)
		require.LessOrEqual(t, usage().Memory, most)
		require.NoError(t, s.Close())
	}
	hog.CloseWithError(0, "")
	honest.CloseWithError(0, "")
	compattest.Eventually(t, func() bool { return usage() == budget.Usage{} }, "all is given back")
}
