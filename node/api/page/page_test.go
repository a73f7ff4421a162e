package page_test

import (
	"cmp"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/macula-mesh/macula-node/node/api/door"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

func get(t *testing.T, at string) (*http.Response, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	require.NoError(t, err)
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

func requireShows(t *testing.T, text, want string) {
	t.Helper()
	require.True(t, strings.Contains(text, want), "%q is not there", want)
}

func requireNotShown(t *testing.T, text, unwanted string) {
	t.Helper()
	require.False(t, strings.Contains(text, unwanted), "%q is there", unwanted)
}

// walk goes through all elements of a document.
func walk(n *html.Node, each func(*html.Node)) {
	if n.Type == html.ElementNode {
		each(n)
	}
	for c := range n.ChildNodes() {
		walk(c, each)
	}
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// Whatever a node tells, the page is a document in order: names that are there once and are
// referred to, labels, headers of tables, no script of its own, and nothing from elsewhere.
func TestDocument(t *testing.T) {
	for name, n := range map[string]*fakeNode{"empty": emptyNode(), "busy": busyNode(250), "hostile": hostileNode(t)} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, n)
			for _, path := range []string{"/", "/?key=greeter&as=service", "/?key=" + url.QueryEscape(hostile), "/?cursor=00"} {
				resp, text := get(t, s.URL()+path)
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
				requirePolicy(t, resp)
				doc, err := html.Parse(strings.NewReader(text))
				require.NoError(t, err)
				requireInOrder(t, doc)
				require.Equal(t, openings(text), closings(text), "each element that is opened is closed")
			}
		})
	}
}

func requirePolicy(t *testing.T, resp *http.Response) {
	t.Helper()
	policies := resp.Header.Values("Content-Security-Policy")
	require.Len(t, policies, 1)
	require.Contains(t, policies[0], "default-src 'none'")
	require.Contains(t, policies[0], "script-src 'self'")
	require.Contains(t, policies[0], "frame-ancestors 'none'")
	require.NotContains(t, policies[0], "unsafe")
	require.NotContains(t, policies[0], "http")
}

// elements are all that the page is made of.
var elements = strings.Fields(`html head meta title link script body a header div p nav button span form main h1 h2 section ul ol li b dl dt dd code bdi table caption
	thead tbody tr th td label input select option pre figure figcaption svg path text circle rect polyline details summary meter footer time`)

func requireInOrder(t *testing.T, doc *html.Node) {
	t.Helper()
	ids, refers := map[string]int{}, []string{}
	headings := 0
	walk(doc, func(n *html.Node) {
		require.Contains(t, elements, n.Data)
		for _, a := range n.Attr {
			require.False(t, strings.HasPrefix(a.Key, "on"), "%s has a handler %s", n.Data, a.Key)
			require.NotEqual(t, "style", a.Key, "the policy does not allow for it")
			switch a.Key {
			case "id":
				ids[a.Val]++
			case "for", "aria-labelledby", "aria-describedby":
				refers = append(refers, a.Val)
			case "href", "src", "action":
				u, err := url.Parse(a.Val)
				require.NoError(t, err, a.Val)
				require.Empty(t, u.Host, "%s leads elsewhere", a.Val)
				require.Empty(t, u.Scheme)
				if strings.HasPrefix(a.Val, "#") {
					refers = append(refers, a.Val[1:])
				}
			}
		}
		switch n.Data {
		case "script":
			require.Nil(t, n.FirstChild, "a script in the page")
		case "th":
			_, scoped := attribute(n, "scope")
			require.True(t, scoped)
		case "table":
			require.Equal(t, "caption", firstElement(n), "a table has a name")
		case "h1":
			headings++
		case "section":
			_, labelled := attribute(n, "aria-labelledby")
			_, label := attribute(n, "aria-label")
			require.True(t, labelled || label, "a landmark has a name")
		case "svg":
			hidden, _ := attribute(n, "aria-hidden")
			role, _ := attribute(n, "role")
			require.True(t, hidden == "true" || role == "img", "a picture is one, or is passed over")
		}
	})
	require.Equal(t, 1, headings)
	for id, times := range ids {
		require.Equal(t, 1, times, "id %s", id)
	}
	for _, id := range refers {
		require.Contains(t, ids, id)
	}
}

func firstElement(n *html.Node) string {
	for c := range n.ChildNodes() {
		if c.Type == html.ElementNode {
			return c.Data
		}
	}
	return ""
}

var (
	opening = regexp.MustCompile(`<(section|div|table|thead|tbody|tr|td|th|ul|ol|li|dl|dt|dd|p|svg|figure|figcaption|details|summary|form|span|code|bdi|main|header|footer|nav|button|select|option|b|a)[ >]`)
	closing = regexp.MustCompile(`</(section|div|table|thead|tbody|tr|td|th|ul|ol|li|dl|dt|dd|p|svg|figure|figcaption|details|summary|form|span|code|bdi|main|header|footer|nav|button|select|option|b|a)>`)
)

func openings(text string) map[string]int { return tally(opening, text) }
func closings(text string) map[string]int { return tally(closing, text) }

func tally(tags *regexp.Regexp, text string) map[string]int {
	all := map[string]int{}
	for _, m := range tags.FindAllStringSubmatch(text, -1) {
		all[m[1]]++
	}
	return all
}

// What is hostile is text, cut short, and turns nothing around it.
func TestHostileTexts(t *testing.T) {
	s := serve(t, hostileNode(t))
	_, text := get(t, s.URL()+"/")
	requireNotShown(t, text, strings.Repeat("W", 401))
	_, text = get(t, s.URL()+"/?key=x")
	requireNotShown(t, text, "<script>")
	requireNotShown(t, text, "<img")
	requireNotShown(t, text, strings.Repeat("W", 2001))
	doc, err := html.Parse(strings.NewReader(text))
	require.NoError(t, err)
	shown := textOf(doc)
	requireNotShown(t, shown, "\u202e")
	requireNotShown(t, shown, "\x1b")
	requireNotShown(t, shown, "\u0353\u0301\u0353")
	requireShows(t, shown, `<script>document.title='owned'</script>`)
	requireShows(t, shown, `\u{202e}gnp.exe`)
}

// All facts are there without JavaScript.
func TestFacts(t *testing.T) {
	n := busyNode(30)
	n.status.Problems = []string{"nothing new can be stored: the disk is full"}
	s := serve(t, n)
	_, text := get(t, s.URL()+"/")
	doc, err := html.Parse(strings.NewReader(text))
	require.NoError(t, err)
	shown := strings.Join(strings.Fields(textOf(doc)), " ")
	for _, fact := range []string{peerID, nodeID, "macula.default", "/ip4/203.0.113.7/udp/9443/quic-v1/p2p/" + peerID, "observed", "reachable", "https://node.example.org:9443", "announced",
		"Not well", "the disk is full", "other realm", "kubo/0.40.1", "24 contacts in the table. The network has about 1830 nodes.", "1,840 records under 1,212 keys; 41 MiB of 256 MiB", "greeter",
		"published here", "calls failed", "can be written to: 12 nodes"} {
		requireShows(t, shown, fact)
	}
	for _, p := range n.peers[:5] {
		id := cmp.Or(p.PeerID, p.NodeID)
		requireShows(t, shown, id[:8]+"…"+id[len(id)-8:])
	}
	requireNotShown(t, text, n.keys[25].Key)
	requireShows(t, text, `/?cursor=6e657874#records`)
	_, further := get(t, s.URL()+"/?cursor=6e657874")
	requireShows(t, further, n.keys[25].Key)

	_, text = get(t, s.URL()+"/?key=greeter&as=service")
	doc, err = html.Parse(strings.NewReader(text))
	require.NoError(t, err)
	shown = strings.Join(strings.Fields(textOf(doc)), " ")
	requireShows(t, shown, "Found: 1 value at 2 holders; 13 nodes answered of 14 nodes asked.")
	requireShows(t, shown, "silent")
	requireShows(t, shown, `"endpoint":"https://203.0.113.7:8080"`)
	requireShows(t, shown, "proved to be its provider's, lives for 4 min 40 s more")
	_, text = get(t, s.URL()+"/?key=0xabc")
	requireShows(t, text, "want pairs of hexadecimal digits")
}

// A node that has just begun has a page too.
func TestFactsOfAnEmptyNode(t *testing.T) {
	_, text := get(t, serve(t, emptyNode()).URL()+"/")
	for _, fact := range []string{"Not well", "it has met nobody", "Nobody is connected.", "It keeps nothing.", "Counting begins some seconds after the start.", "0 contacts in the table"} {
		requireShows(t, text, fact)
	}
}

// The key of the form is the one that the commands mean.
func TestKey(t *testing.T) {
	s := serve(t, emptyNode())
	for name, test := range map[string]struct {
		key, as string
		want    string
	}{
		"a text":        {"greeter", "key", `{"key":"67726565746572"}`},
		"a hash":        {nodeID, "key", `{"key":"` + nodeID + `"}`},
		"other bytes":   {"0x00ff", "", `{"key":"00ff"}`},
		"a service":     {"greeter", "service", `{"key":"4b249b519fef6a17b8e62e20e5eff3f41938f86d47a8425484c0f0a391ea10d2"}`},
		"nothing":       {"", "key", `write a key`},
		"no digits":     {"0xzz", "key", `pairs of hexadecimal digits`},
		"too long":      {strings.Repeat("a", 256), "key", `256 bytes: write at most 255`},
		"what is not":   {"a", "magic", `write key, service or topic`},
		"digits, alone": {"0x", "key", `pairs of hexadecimal digits`},
	} {
		t.Run(name, func(t *testing.T) {
			resp, text := get(t, s.URL()+"/key?"+url.Values{"key": {test.key}, "as": {test.as}}.Encode())
			requireShows(t, text, test.want)
			require.Equal(t, strings.HasPrefix(test.want, "{"), resp.StatusCode == http.StatusOK)
		})
	}
}

// What belongs to the page is served, and nothing else.
func TestParts(t *testing.T) {
	s := serve(t, emptyNode())
	for path, kind := range map[string]string{"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8", "/icon.svg": "image/svg+xml; charset=utf-8"} {
		resp, text := get(t, s.URL()+path)
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
		require.Equal(t, kind, resp.Header.Get("Content-Type"))
		requirePolicy(t, resp)
		for _, at := range regexp.MustCompile(`(https?:)?//[a-z][^\s'"]*`).FindAllString(text, -1) {
			require.Contains(t, []string{"http://www.w3.org/2000/svg"}, at, "%s names another place", path)
		}
	}
	for path, want := range map[string]string{"/page.html": "there is nothing at /page.html", "/static/page.css": "there is nothing", "/v1/none": `"status":404`} {
		resp, text := get(t, s.URL()+path)
		require.Equal(t, http.StatusNotFound, resp.StatusCode)
		requireShows(t, text, want)
	}
}

// Where the token is wanted a browser that has shown it can log out, and is not known then.
func TestLogOut(t *testing.T) {
	n := emptyNode()
	s := serveAt(t, "0.0.0.0:0", n, n)
	base := strings.Replace(s.URL(), "0.0.0.0", "127.0.0.1", 1)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	read := func(resp *http.Response, err error) string {
		t.Helper()
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	token, err := os.ReadFile(filepath.Join(filepath.Dir(s.Path()), door.TokenFile))
	require.NoError(t, err)
	requireNotShown(t, read(browser.Get(base+"/")), peerID)
	shown := read(browser.PostForm(base+"/login", url.Values{"token": {string(token)}}))
	requireShows(t, shown, peerID)
	requireShows(t, shown, `<form method="post" action="/logout">`)
	doc, err := html.Parse(strings.NewReader(shown))
	require.NoError(t, err)
	requireInOrder(t, doc)
	requireNotShown(t, read(browser.Post(base+"/logout", "", nil)), peerID)
	requireNotShown(t, read(browser.Get(base+"/")), peerID)
}

// Only so many lookups are waited for at a time.
func TestLookupsAreBounded(t *testing.T) {
	n := &waitingNode{fakeNode: *emptyNode(), begun: make(chan struct{}), goOn: make(chan struct{})}
	s := serveNode(t, n, n)
	ended := make(chan struct{})
	for range 4 {
		go func() {
			get(t, s.URL()+"/?key=a")
			ended <- struct{}{}
		}()
		<-n.begun
	}
	_, text := get(t, s.URL()+"/?key=a")
	requireShows(t, text, "4 lookups of this page run already")
	close(n.goOn)
	for range 4 {
		<-ended
	}
}

func TestHistoryWithoutTime(t *testing.T) {
	n := emptyNode()
	n.history.Samples = []schema.Sample{{}}
	resp, _ := get(t, serve(t, n).URL()+"/")
	require.Equal(t, http.StatusOK, resp.StatusCode)
}
