package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var write = flag.Bool("write", false, "write docs/openapi.json anew")

// What is served is what docs/openapi.json says. After a change: go test ./node/api -write.
func TestOpenAPI(t *testing.T) {
	s := open(t, &fakeNode{}, at("127.0.0.1:0"))
	resp, err := plain().Get(s.URL() + "/openapi.json")
	require.NoError(t, err)
	defer resp.Body.Close()
	served, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, json.Indent(&text, served, "", "  "))
	text.WriteByte('\n')
	const file = "../../docs/openapi.json"
	if *write {
		require.NoError(t, os.WriteFile(file, text.Bytes(), 0o644))
	}
	committed, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(committed, text.Bytes()), "docs/openapi.json is not what is served: go test ./node/api -run TestOpenAPI -write")
	require.Contains(t, text.String(), `"openapi": "3.1.0"`)
}

// operations are the statuses that docs/openapi.json has of each path and method, a key in
// the path being one of the tests'.
func operations(t *testing.T) map[string]map[string]map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.json")
	require.NoError(t, err)
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]any `json:"responses"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(text, &doc))
	all := make(map[string]map[string]map[string]any)
	for path, methods := range doc.Paths {
		path = strings.ReplaceAll(path, "{key}", "xy")
		all[path] = make(map[string]map[string]any)
		for method, op := range methods {
			all[path][strings.ToUpper(method)] = op.Responses
		}
	}
	return all
}

// Of each operation it is said how it may be refused.
func TestErrorsAreDescribed(t *testing.T) {
	many := 0
	for path, methods := range operations(t) {
		for method, responses := range methods {
			many++
			want := []string{"200", "400", "401", "403", "421", "422", "500", "503"}
			if method == "POST" {
				want = append(want, "413", "415")
			}
			for _, status := range want {
				require.Contains(t, responses, status, "%s %s", method, path)
			}
			require.NotContains(t, responses, "default", "%s %s", method, path)
		}
	}
	require.Greater(t, many, 20)
	for operation, statuses := range map[string][]string{
		"GET /v1/events": {"429"}, "GET /v1/lookup/xy": {"429"}, "GET /v1/subscribe": {"429"}, "GET /v1/watch/xy": {"429"}, "POST /v1/serve": {"429"},
		"POST /v1/put": {"409", "429", "504", "507"}, "POST /v1/advertise": {"409", "507"}, "POST /v1/withdraw": {"404", "504"},
		"POST /v1/answer": {"404", "410"}, "POST /v1/backup": {"409", "507"}, "POST /v1/publish": {"429"},
	} {
		method, path, _ := strings.Cut(operation, " ")
		for _, status := range statuses {
			require.Contains(t, operations(t)[path][method], status, operation)
		}
	}
}
