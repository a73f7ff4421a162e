package node

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// A node has a page at the root of its local API, by which others' values are found too; a
// program may put another in its place.
func TestPage(t *testing.T) {
	t.Parallel()
	first := startNode(t, func(c *Config) { c.DataDir, c.API = t.TempDir(), "127.0.0.1:0" })
	second := startNode(t, bootstrappedBy(first))
	require.Eventually(t, func() bool { return first.knows(second) && second.knows(first) }, 2*patience, tick)
	value, err := wire.FromJSON([]byte(`{"text":"kept by the second"}`))
	require.NoError(t, err)
	_, err = second.Service().Store(patient(t), []byte("greeting"), value)
	require.NoError(t, err)

	text := readPage(t, first.APIURL()+"/?key=greeting")
	for _, fact := range []string{first.Host().ID().String(), first.ID().String(), "macula.default", second.ID().String(), "Found: 1 value", "kept by the second", "1 contact in the table"} {
		require.True(t, strings.Contains(text, fact), fact)
	}
	require.Contains(t, readPage(t, first.APIURL()+"/v1/history"), `"every":5`)

	other := startNode(t, func(c *Config) {
		c.DataDir, c.API = t.TempDir(), "127.0.0.1:0"
		c.Page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "another page") })
	})
	require.Equal(t, "another page", readPage(t, other.APIURL()+"/"))
}

func readPage(t *testing.T, at string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(at)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}
