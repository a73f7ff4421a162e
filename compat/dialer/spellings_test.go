package dialer

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
)

// Two spellings of one node's endpoint are two links, and still one handshake at
// a time.
func TestOneHandshakeAtATimeHoweverItIsSpelt(t *testing.T) {
	g := compattest.StartErlang(t, "127.0.0.1:0")
	port := g.Endpoint()[strings.LastIndex(g.Endpoint(), ":"):]
	letGo := g.HoldHandshakes()
	d := newDialer(t)
	var asks sync.WaitGroup
	for _, host := range []string{"127.0.0.1", "localhost"} {
		asks.Go(func() {
			_, err := client.Ping(compattest.Context(t), d, compattest.At("https://"+host+port))
			require.NoError(t, err)
		})
	}
	compattest.Eventually(t, func() bool { return g.Stats().Handshaking }, "one shakes hands")
	require.Never(t, func() bool { return g.Stats().Refused > 0 }, 300*time.Millisecond, compattest.Tick, "the other waits")
	letGo()
	asks.Wait()
	require.Equal(t, 2, g.Stats().Accepted)
}
