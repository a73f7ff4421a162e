package door

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestToken(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, TokenFile)
	made, err := LoadToken(dir)
	require.NoError(t, err)
	again, err := LoadToken(dir)
	require.NoError(t, err)
	require.Equal(t, made, again)
	require.True(t, made.Is(string(made)))
	require.False(t, made.Is(string(made)[1:]))
	require.False(t, Token("").Is(""))

	require.NoError(t, os.Chmod(path, 0o644))
	_, err = LoadToken(dir)
	require.ErrorContains(t, err, "chmod 600")
	for name, text := range map[string]string{"nothing": "", "too short": "secret", "two words": "0123456789 0123456789", "no ASCII": "0123456789éééééééé"} {
		require.NoError(t, os.Chmod(path, 0o600))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err = LoadToken(dir)
		require.ErrorContains(t, err, "remove it to have another made", name)
	}
}

// A session ends with its time, where it is logged out of, and where there are too many.
func TestSession(t *testing.T) {
	var s sessions
	now := time.Now()
	shown, other := s.begin(now), s.begin(now)
	require.NotEqual(t, shown, other)
	require.True(t, s.has(shown, now.Add(sessionTime-1)))
	require.False(t, s.has(shown, now.Add(sessionTime)), "it is over")
	for _, wrong := range []string{"", shown[1:], shown + "0"} {
		require.False(t, s.has(wrong, now), wrong)
	}
	s.end(shown)
	require.False(t, s.has(shown, now), "it is logged out of")
	require.True(t, s.has(other, now))
	for i := range maxSessions {
		shown = s.begin(now.Add(time.Duration(i+1) * time.Second))
	}
	require.Len(t, s.ends, maxSessions)
	require.False(t, s.has(other, now), "the oldest has ended")
	require.True(t, s.has(shown, now))
}

func TestParseAddress(t *testing.T) {
	for text, loopback := range map[string]bool{"127.0.0.1:9480": true, "127.1.2.3:0": true, "[::1]:1": true, "localhost:9480": true, "LOCALHOST:9480": true, "0.0.0.0:9480": false, ":9480": false, "node.example:9480": false, "[::]:1": false, "[::ffff:127.0.0.1]:1": true} {
		a, err := ParseAddress(text)
		require.NoError(t, err)
		require.Equal(t, loopback, a.Loopback(), text)
	}
	for _, text := range []string{"", "9480", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "a:b:c", "127.0.0.1:-1"} {
		_, err := ParseAddress(text)
		require.Error(t, err, text)
	}
}

// FuzzGuard: whatever a request says, it is refused by a Refusal, and let in only where it
// names loopback and is of no other origin.
func FuzzGuard(f *testing.F) {
	for _, seed := range [][4]string{{"127.0.0.1:9480", "", "", ""}, {"evil.example", "", "", ""}, {"localhost", "http://localhost", "", ""}, {"[::1", "null", "same-site", "Bearer x"}, {"", "//", "none", "Bearer"}, {"a]:1", "http://a]:1", "same-origin", "bearer 0123456789abcdef"}} {
		f.Add(seed[0], seed[1], seed[2], seed[3], "macula_node_session_9480=1.2")
	}
	a, err := ParseAddress("127.0.0.1:9480")
	require.NoError(f, err)
	g := NewGuard(a, "0123456789abcdef")
	f.Fuzz(func(t *testing.T, host, origin, site, authorization, cookie string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/status", nil)
		r.Host = host
		for name, value := range map[string]string{"Origin": origin, "Sec-Fetch-Site": site, "Authorization": authorization, "Cookie": cookie} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		err := g.Check(r)
		if err == nil {
			require.True(t, isLoopback(hostOf(host)))
			require.Contains(t, []string{"", "none", "same-origin"}, site)
			return
		}
		refused, is := errors.AsType[*Refusal](err)
		require.True(t, is)
		require.Contains(t, []int{401, 403, 421}, refused.Status)
		require.NotContains(t, refused.Why, "0123456789abcdef")
	})
}
