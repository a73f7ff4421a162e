package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/door"
)

func tokenOf(t *testing.T, s *Server) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(s.Path()), door.TokenFile)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}

func portOf(s *Server) string { return s.address.Port }

// Over TCP nobody is served who is not meant to be; all that is refused is a problem.
func TestHostileRequests(t *testing.T) {
	described := operations(t)
	loopback, all := open(t, &fakeNode{}, at("127.0.0.1:0")), open(t, &fakeNode{}, at("0.0.0.0:0"))
	const body = `{"topic":"a"}`
	headers := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	bearer := func(s *Server) []string { return []string{"Authorization", "Bearer " + tokenOf(t, s)} }
	for name, test := range map[string]struct {
		server       *Server
		method, path string
		host         string
		header       http.Header
		body         io.Reader
		status       int
		want         string
	}{
		"a read at loopback":          {loopback, "GET", "/v1/status", "", nil, nil, 200, ""},
		"by another name of it":       {loopback, "GET", "/v1/status", "localhost:1", nil, nil, 200, ""},
		"by IPv6 loopback":            {loopback, "GET", "/v1/status", "[::1]:9480", nil, nil, 200, ""},
		"a name that leads here":      {loopback, "GET", "/v1/status", "evil.example", nil, nil, 421, "evil.example"},
		"a name that looks like it":   {loopback, "GET", "/v1/status", "127.0.0.1.evil.example", nil, nil, 421, "evil.example"},
		"another address":             {loopback, "GET", "/v1/status", "192.0.2.7:9480", nil, nil, 421, "192.0.2.7"},
		"a page's read":               {loopback, "GET", "/v1/status", "", headers("Origin", "http://evil.example"), nil, 403, "another origin"},
		"of no origin":                {loopback, "GET", "/v1/status", "", headers("Origin", "null"), nil, 403, "another origin"},
		"a read of the same site":     {loopback, "GET", "/v1/events", "", headers("Sec-Fetch-Site", "same-site"), nil, 403, "another origin"},
		"a link on another page":      {loopback, "GET", "/", "", headers("Sec-Fetch-Site", "cross-site"), nil, 403, "another origin"},
		"the page's own read":         {loopback, "GET", "/v1/status", "", headers("Sec-Fetch-Site", "same-origin"), nil, 200, ""},
		"a write without a token":     {loopback, "POST", "/v1/publish", "", headers("Content-Type", "application/json"), strings.NewReader(body), 401, "token"},
		"a page's write":              {loopback, "POST", "/v1/publish", "", headers(append(bearer(loopback), "Content-Type", "application/json", "Sec-Fetch-Site", "cross-site")...), strings.NewReader(body), 403, "another origin"},
		"a write":                     {loopback, "POST", "/v1/publish", "", headers(append(bearer(loopback), "Content-Type", "application/json")...), strings.NewReader(body), 200, ""},
		"another node's token":        {loopback, "POST", "/v1/publish", "", headers(append(bearer(all), "Content-Type", "application/json")...), strings.NewReader(body), 401, "not the token"},
		"a read elsewhere":            {all, "GET", "/v1/status", "", nil, nil, 401, "token"},
		"with a wrong token":          {all, "GET", "/v1/status", "", headers("Authorization", "Bearer x"), nil, 401, "not the token"},
		"with an empty token":         {all, "GET", "/v1/status", "", headers("Authorization", "Bearer "), nil, 401, "not the token"},
		"with a forged session":       {all, "GET", "/v1/status", "", headers("Cookie", "macula_node_session_"+portOf(all)+"=99999999999.00"), nil, 401, "token"},
		"with the token":              {all, "GET", "/v1/status", "", headers(bearer(all)...), nil, 200, ""},
		"metrics elsewhere":           {all, "GET", "/metrics", "", nil, nil, 401, "token"},
		"the description elsewhere":   {all, "GET", "/openapi.json", "", nil, nil, 401, "token"},
		"nothing":                     {loopback, "GET", "/v1/nothing", "", nil, nil, 404, "/v1/nothing"},
		"the wrong method":            {loopback, "DELETE", "/v1/status", "", headers(bearer(loopback)...), nil, 405, "takes GET"},
		"a form":                      {loopback, "POST", "/v1/publish", "", headers(append(bearer(loopback), "Content-Type", "text/plain")...), strings.NewReader(body), 415, "application/json"},
		"a body that is too long":     {loopback, "POST", "/v1/publish", "", headers(append(bearer(loopback), "Content-Type", "application/json")...), strings.NewReader(`{"topic":"` + strings.Repeat("a", maxBody) + `"}`), 413, "bytes"},
		"one that does not say":       {loopback, "POST", "/v1/publish", "", headers(append(bearer(loopback), "Content-Type", "application/json")...), io.MultiReader(strings.NewReader(`{"topic":"` + strings.Repeat("a", maxBody) + `"}`)), 413, "bytes"},
		"a read with a body":          {loopback, "GET", "/v1/status", "", headers("Content-Type", "application/json"), io.MultiReader(strings.NewReader("{}")), 400, "no body"},
		"a form that is too long":     {all, "POST", "/login", "", headers("Content-Type", "application/x-www-form-urlencoded"), strings.NewReader("token=" + strings.Repeat("a", maxForm)), 413, "1024 bytes"},
		"another field":               {loopback, "POST", "/v1/publish", "", headers(append(bearer(loopback), "Content-Type", "application/json")...), strings.NewReader(`{"tpoic":"a"}`), 422, "tpoic"},
		"two values":                  {loopback, "POST", "/v1/publish", "", headers(append(bearer(loopback), "Content-Type", "application/json")...), strings.NewReader(body + body), 400, ""},
		"no JSON":                     {loopback, "POST", "/v1/publish", "", headers(append(bearer(loopback), "Content-Type", "application/json")...), strings.NewReader(`{`), 400, ""},
		"an unknown question":         {loopback, "GET", "/v1/status?x=1", "", nil, nil, 422, "x"},
		"a key that is none":          {loopback, "GET", "/v1/watch/xy", "", nil, nil, 400, "hexadecimal"},
		"a key that is too long":      {loopback, "GET", "/v1/lookup/" + strings.Repeat("00", 256), "", nil, nil, 422, ""},
		"more than may be subscribed": {loopback, "GET", "/v1/subscribe?pattern=a", "", nil, nil, 429, "too many"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, strings.Replace(test.server.URL(), "0.0.0.0", "127.0.0.1", 1)+test.path, test.body)
			require.NoError(t, err)
			r.Host = test.host
			for k, v := range test.header {
				r.Header[k] = v
			}
			resp, err := plain().Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, test.status, resp.StatusCode, "%s", text)
			require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
			require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
			if test.status == http.StatusOK {
				return
			}
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			var p client.Problem
			require.NoError(t, json.Unmarshal(text, &p), "%s", text)
			require.Equal(t, test.status, p.Status)
			require.Contains(t, p.Error(), test.want)
			if path, _, _ := strings.Cut(test.path, "?"); described[path][test.method] != nil {
				require.Contains(t, described[path][test.method], strconv.Itoa(test.status), "docs/openapi.json says it of the operation")
			}
			require.NotContains(t, string(text), tokenOf(t, test.server))
		})
	}
}

// Who sends bodies over TCP and does not end them holds up nobody who asks on the socket.
func TestUnendedBodies(t *testing.T) {
	s := open(t, &fakeNode{}, at("127.0.0.1:0"))
	for range maxBodies / maxBody {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+tokenOf(t, s)+"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		if !s.bodiesTCP.TryAcquire(1) {
			return true
		}
		s.bodiesTCP.Release(1)
		return false
	}, 5*time.Second, time.Millisecond, "all that TCP may have is taken")
	began := time.Now()
	require.NoError(t, askingAt(s).Publish(t.Context(), "a", nil))
	require.Less(t, time.Since(began), 3*time.Second)
}

// A browser logs in by a form, and is known from then on.
func TestLogIn(t *testing.T) {
	s := open(t, &fakeNode{}, at("0.0.0.0:0"))
	base := strings.Replace(s.URL(), "0.0.0.0", "127.0.0.1", 1)
	browser := plain()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	get := func(path string, cookies ...*http.Cookie) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), "GET", base+path, nil)
		require.NoError(t, err)
		r.Header.Set("Accept", "text/html")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		resp, err := browser.Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	asked := get("/")
	require.Equal(t, 401, asked.StatusCode)
	form, err := io.ReadAll(asked.Body)
	require.NoError(t, err)
	require.Contains(t, string(form), `action="/login"`)
	for token, status := range map[string]int{"": 401, "wrong": 401, tokenOf(t, s): 303} {
		resp, err := browser.PostForm(base+"/login", url.Values{"token": {token}})
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, status, resp.StatusCode)
		if status != 303 {
			require.Empty(t, resp.Cookies())
			continue
		}
		require.Len(t, resp.Cookies(), 1)
		c := resp.Cookies()[0]
		require.True(t, c.HttpOnly)
		require.Equal(t, http.SameSiteStrictMode, c.SameSite)
		require.NotContains(t, c.Value, token)
		require.Equal(t, "macula_node_session_"+portOf(s), c.Name, "another node of the machine has its own")
		require.Equal(t, 200, get("/v1/status", c).StatusCode)
		forged := *c
		forged.Value = "9" + c.Value
		require.Equal(t, 401, get("/v1/status", &forged).StatusCode)

		r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/logout", nil)
		require.NoError(t, err)
		r.AddCookie(c)
		out, err := browser.Do(r)
		require.NoError(t, err)
		out.Body.Close()
		require.Equal(t, 303, out.StatusCode)
		require.Negative(t, out.Cookies()[0].MaxAge)
		require.Equal(t, 401, get("/v1/status", c).StatusCode, "whoever has kept the cookie is not known by it any more")
	}
}

// Readers that stay, and connections on which nothing comes, take no more than their part:
// the socket answers all the same.
func TestThousandsOfReaders(t *testing.T) {
	s := open(t, &fakeNode{}, at("127.0.0.1:0"))
	address := strings.TrimPrefix(s.URL(), "http://")
	const readers = 1000
	opened := make([]net.Conn, 0, readers)
	t.Cleanup(func() {
		for _, c := range opened {
			c.Close()
		}
	})
	for i := range readers {
		c, err := net.Dial("tcp", address)
		if err != nil {
			break // as many as the system lets wait
		}
		opened = append(opened, c)
		text := "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
		if i >= maxUnknown+5 {
			text = text[:20+i%10] // half a request
		}
		_, err = c.Write([]byte(text))
		require.NoError(t, err)
	}
	statuses := map[int]int{}
	for _, c := range opened[:maxUnknown+5] {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		statuses[resp.StatusCode]++
	}
	require.Equal(t, map[int]int{200: maxUnknown, 429: 5}, statuses)
	_, err := askingAt(s).Status(t.Context())
	require.NoError(t, err)
	start := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(start), closeTime+time.Second)
}

// Whoever else is on the machine leaves room for readers that have shown the token.
func TestReadersWithTheToken(t *testing.T) {
	s := open(t, &fakeNode{}, at("127.0.0.1:0"))
	read := func(token string) int {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL()+"/v1/events", nil)
		require.NoError(t, err)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := plain().Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp.StatusCode
	}
	statuses := map[int]int{}
	for range maxStreams + 2 {
		statuses[read("")]++
	}
	require.Equal(t, map[int]int{200: maxUnknown, 429: maxStreams + 2 - maxUnknown}, statuses)
	for range maxStreams - maxUnknown {
		require.Equal(t, 200, read(tokenOf(t, s)))
	}
	require.Equal(t, 429, read(tokenOf(t, s)))
}

// stubbornNode publishes until it is let go on, whoever has gone.
type stubbornNode struct {
	fakeNode
	begun, goOn chan struct{}
	ended       atomic.Bool
}

func (n *stubbornNode) Publish(context.Context, string, []byte) error {
	close(n.begun)
	<-n.goOn
	n.ended.Store(true)
	return nil
}

// Nothing of the node is used any more when the server is closed, though who asked has gone.
func TestCloseWaitsForHandlers(t *testing.T) {
	n := &stubbornNode{begun: make(chan struct{}), goOn: make(chan struct{})}
	s := open(t, n)
	asked := make(chan error, 1)
	go func() { asked <- askingAt(s).Publish(t.Context(), "a", nil) }()
	<-n.begun
	go func() {
		<-asked // its connection was closed
		time.AfterFunc(100*time.Millisecond, func() { close(n.goOn) })
	}()
	require.NoError(t, s.Close())
	require.True(t, n.ended.Load())
}

// Where the address is taken, a node that was not told to have it goes on without.
func TestAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	s := open(t, &fakeNode{}, at(l.Addr().String()), func(o *Options) { o.Spare = true })
	require.Empty(t, s.URL())
	_, err = askingAt(s).Status(t.Context())
	require.NoError(t, err)
	dir := shortTemp(t)
	_, err = Open(&fakeNode{}, Options{DataDir: dir, Address: l.Addr().String(), Log: s.log})
	require.ErrorContains(t, err, l.Addr().String())
	require.NoFileExists(t, filepath.Join(dir, "api.sock"))
}
