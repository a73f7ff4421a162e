package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
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
