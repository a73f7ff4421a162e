package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	logging "github.com/ipfs/go-log/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// locked gathers what is logged.
type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *locked) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func TestSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out locked
		lines := func() []string {
			return strings.FieldsFunc(out.take(), func(r rune) bool { return r == '\n' })
		}
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}}))
		s := NewSummary(log, 10*time.Second)
		for i := range 5 {
			s.Info("refused", "from", i)
		}
		s.Info("another")
		require.Equal(t, []string{"msg=refused from=0", "msg=another"}, lines())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"msg=refused times=4 within=10s from=4"}, lines(), "the rest as one, what came once is told once")

		s.Info("refused", "from", 5) // within the next window
		require.Empty(t, lines())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"msg=refused times=1 within=10s from=5"}, lines())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Empty(t, lines())

		s.Info("refused", "from", 6)
		s.Info("refused", "from", 7)
		require.Equal(t, []string{"msg=refused from=6"}, lines(), "quiet for long enough, so at once")
		s.Close()
		require.Equal(t, []string{"msg=refused times=1 within=10s from=7"}, lines(), "nothing is kept back for ever")
		s.Info("refused", "from", 8)
		require.Equal(t, []string{"msg=refused from=8"}, lines())
	})
}

// The loggers obey go-log's levels, and its format.
func TestLogger(t *testing.T) {
	before := logging.GetConfig()
	t.Cleanup(func() { logging.SetupLogging(before) })
	pipe := logging.NewPipeReader(logging.PipeFormat(logging.JSONOutput), logging.PipeLevel(logging.LevelDebug))
	defer pipe.Close()
	require.NoError(t, logging.SetLogLevel("macula/loud", "debug"))
	lines := json.NewDecoder(pipe)
	go func() {
		Logger("quiet").Info("not shown")
		Logger("loud").With("why", errors.New("because")).Debug("shown", "n", 1, "at", netip.MustParseAddr("::1"), "err", fmt.Errorf("no: %w", io.EOF))
	}()
	var line map[string]any
	require.NoError(t, lines.Decode(&line))
	require.Equal(t, "shown", line["msg"])
	require.Equal(t, "macula/loud", line["logger"])
	require.Equal(t, "debug", line["level"])
	require.EqualValues(t, 1, line["n"])
	require.NotEmpty(t, line["ts"])
	require.Equal(t, "because", line["why"])
	require.Equal(t, "::1", line["at"])
	require.Equal(t, "no: EOF", line["err"])
}
