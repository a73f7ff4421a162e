package uplink

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// book holds what is logged.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) has(text string) func() bool {
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return strings.Contains(b.text.String(), text)
	}
}

// That a session ends which has lived is no warning, and neither is our own leaving,
// but both are told.
func TestLogOfOrdinaryEnds(t *testing.T) {
	g := newGlass(t)
	var log book
	u := newUplinked(t, []*glass.Gateway{g}, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	compattest.Eventually(t, u.has(1), "a session")
	compattest.Eventually(t, func() bool { return g.Stats().Frames[wire.TypePing] >= 2 }, "a sign of life, and another after its answer")
	g.DropClients()
	compattest.Eventually(t, log.has(`level=INFO msg="the session with the gateway has ended"`), "the gateway's end")
	compattest.Eventually(t, u.has(1), "a session again")
	u.Close()
	require.True(t, log.has(`level=INFO msg="left the gateway"`)(), "our own")
	require.False(t, log.has("level=WARN")())
}
