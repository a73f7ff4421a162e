package node

import (
	"flag"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // what runs in parallel waits rather than computes; -parallel has its way
	goleak.VerifyTestMain(m)
}

// logLines is a log that a test can read while it is written.
type logLines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}
