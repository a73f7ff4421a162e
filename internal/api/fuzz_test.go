package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/backup"
)

// FuzzRequest: whatever is asked on the socket, it is answered by JSON or by a problem, and
// what is wrong with a request is no fault of the server's.
func FuzzRequest(f *testing.F) {
	for _, seed := range []struct{ method, path, kind, body string }{
		{"GET", "/v1/status", "", ""},
		{"POST", "/v1/backup", "application/json", `{"dir":"/a"}`},
		{"POST", "/v1/backup", "application/json; charset=utf-8", `{"dir":"/exists"}`},
		{"POST", "/v1/backup", "application/json", `{"dir":"a"}{}`},
		{"POST", "/v1/backup", "text/plain", `{"dri":1}`},
		{"DELETE", "/v1/../v1//status", "", ""},
		{"OPTIONS", "*", "", ""},
		{"HEAD", "/v1/nothing%2f", "", ""},
	} {
		f.Add(seed.method, seed.path, seed.kind, []byte(seed.body))
	}
	n := &fakeNode{backup: func(_ context.Context, dir string) (backup.Made, error) {
		if strings.HasPrefix(dir, "/exists") {
			return backup.Made{}, fmt.Errorf("%w: %s", backup.ErrExists, dir)
		}
		return backup.Made{Dir: dir}, nil
	}}
	s := &Server{node: n, log: slog.New(slog.DiscardHandler), backups: make(chan struct{}, 1)}
	routes := s.routes()
	f.Fuzz(func(t *testing.T, method, path, kind string, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://node/", strings.NewReader(string(body)))
		if err != nil {
			return // what no client can send
		}
		if r.URL, err = r.URL.Parse(path); err != nil {
			return
		}
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		routes.ServeHTTP(deadlines{w}, r)
		require.Empty(t, s.backups)
		switch code := w.Code; {
		case code == http.StatusOK:
			if method != http.MethodHead {
				require.True(t, json.Valid(w.Body.Bytes()), "%s", w.Body)
			}
		case code/100 == 3: // to the same path, written as it should be
			require.NotEmpty(t, w.Header().Get("Location"))
		default:
			require.Equal(t, 4, code/100, "%d: %s", code, w.Body)
			var p Problem
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p), "%s", w.Body)
			require.Equal(t, code, p.Status)
			require.NotEmpty(t, p.Detail)
		}
	})
}

// deadlines is an answer whose time limits can be lifted.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetReadDeadline(time.Time) error  { return nil }
func (deadlines) SetWriteDeadline(time.Time) error { return nil }
