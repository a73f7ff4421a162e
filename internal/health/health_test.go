package health

import (
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type gateway struct{ ready atomic.Bool }

func (g *gateway) Ready() bool    { return g.ready.Load() }
func (g *gateway) Counts() Counts { return Counts{Clients: 3, Subscriptions: 5, Registrations: 7} }

func TestDoor(t *testing.T) {
	var g gateway
	s, err := Open("127.0.0.1:0", &g, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, ready := range []bool{false, true} {
		g.ready.Store(ready)
		for name, test := range map[string]struct {
			method, path string
			status       [2]int // before it is ready, and then
			kind         string
			body         [2]string // regular expressions
		}{
			"health":         {"GET", "/health?x=1", [2]int{200, 200}, "application/json", [2]string{`^{"status":"healthy","ready":false,"uptime":\d+}$`, `^{"status":"healthy","ready":true,"uptime":\d+}$`}},
			"ready":          {"GET", "/ready", [2]int{503, 200}, "text/plain", [2]string{"^Not ready$", "^Ready$"}},
			"live":           {"GET", "/live", [2]int{200, 200}, "text/plain", [2]string{"^Live$", "^Live$"}},
			"nothing":        {"GET", "/", [2]int{404, 404}, "text/plain", [2]string{"^Not found$", "^Not found$"}},
			"another method": {"POST", "/live", [2]int{404, 404}, "text/plain", [2]string{"^Not found$", "^Not found$"}},
			"metrics": {"GET", "/metrics", [2]int{200, 200}, "text/plain; version=0.0.4", [2]string{
				`(?m)^macula_gateway_ready 0$(.|\n)*^macula_gateway_clients_total 0$`,
				`(?m)^macula_gateway_uptime_seconds \d+$(.|\n)*^macula_gateway_ready 1$(.|\n)*^macula_gateway_process_count [1-9]\d*$(.|\n)*` +
					`^macula_gateway_memory_bytes [1-9]\d*$(.|\n)*^macula_gateway_process_memory_bytes [1-9]\d*$(.|\n)*^macula_gateway_diagnostics_available 1$(.|\n)*` +
					`^macula_gateway_clients_total 3$(.|\n)*^macula_gateway_subscriptions_total 5$(.|\n)*^macula_gateway_registrations_total 7$`}},
		} {
			t.Run(name, func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+s.Addr()+test.path, nil)
				require.NoError(t, err)
				resp, err := client.Do(r)
				require.NoError(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				i := 0
				if ready {
					i = 1
				}
				require.Equal(t, test.status[i], resp.StatusCode)
				require.Equal(t, test.kind, resp.Header.Get("Content-Type"))
				require.Regexp(t, regexp.MustCompile(test.body[i]), string(body))
			})
		}
	}
	_, err = Open(s.Addr(), &g, slog.New(slog.DiscardHandler))
	require.Error(t, err)
}
