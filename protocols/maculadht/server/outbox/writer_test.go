package outbox

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

func TestWholeFrames(t *testing.T) {
	short, long := make([]byte, 20), make([]byte, 100)
	frames := dhttest.Frame(wire.TypePing, short...)
	frames = append(frames, dhttest.Frame(wire.TypePing, long...)...)
	frames = append(frames, dhttest.Frame(wire.TypePing, short...)...)
	for n, want := range map[int]int{1: 28, 28: 28, 135: 28, 136: 136, 163: 136, 164: 164, 1000: 164} {
		require.Len(t, wholeFrames(frames, n), want, "at most %d bytes", n)
	}
	require.Len(t, wholeFrames(frames[28:], 10), 108, "one that is longer")
}
