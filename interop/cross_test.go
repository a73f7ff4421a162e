package interop

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// got is what get prints with --json.
type got struct {
	Key    string           `json:"key"`
	Values []map[string]any `json:"values"`
}

func get(t *testing.T, args ...string) (got, int) {
	t.Helper()
	out, code := cli(t, append([]string{"get", "--json"}, args...)...)
	var g got
	require.NoError(t, json.Unmarshal([]byte(out), &g), "%s", out)
	return g, code
}

// TestCommandLineAcrossDialects stores by one dialect and finds by the other,
// both ways, and by its own.
func TestCommandLineAcrossDialects(t *testing.T) {
	node := startProcess(t)
	binID := strings.Repeat("00ff", 16) // 32 bytes that are no text
	addrs := map[string]string{"libp2p": node.Addrs[0], "Erlang": node.Endpoints[0]}
	for putBy, put := range addrs {
		service := "greeter of " + putBy
		for getBy, addr := range addrs {
			found, code := get(t, addr, "--service", service)
			assert.Equal(t, 1, code, "nothing is there yet, by %s", getBy)
			assert.Empty(t, found.Values)
		}
		value := `{"node_id": {"$bin": "` + binID + `"}, "endpoint": "https://127.0.0.1:8080", "n": [1, -2.5, null, true], "ttl": 60}`
		out, code := cli(t, "put", "--json", put, "--service", service, value)
		require.Equal(t, 0, code, out)
		for getBy, addr := range addrs {
			t.Run("put by "+putBy+", get by "+getBy, func(t *testing.T) {
				found, code := get(t, addr, "--service", service)
				require.Equal(t, 0, code)
				assert.Equal(t, []map[string]any{{
					"node_id":  map[string]any{"$bin": binID},
					"endpoint": "https://127.0.0.1:8080",
					"n":        []any{1.0, -2.5, nil, true},
					"ttl":      60.0,
				}}, found.Values)
			})
		}
	}
}

// TestStoreAcrossTransports sends STOREs as foreign programs do, on raw streams.
func TestStoreAcrossTransports(t *testing.T) {
	node := startProcess(t)
	h := newPeer(t)
	id := connect(t, h, node.Addrs[0])
	talks := map[string]func() *talk{
		"libp2p": func() *talk { return talkPeer(t, h, id) },
		"Erlang": func() *talk { return talkRaw(t, dialRaw(t, node.udp(t))) },
	}
	// What most MessagePack libraries write: str for all that is text.
	inStr := strDoc{"node_id": str(aNodeID), "endpoint": str("https://127.0.0.1:1"), "tags": []any{str("a"), str("")}}
	read := obj{"node_id": aNodeID, "endpoint": bin("https://127.0.0.1:1"), "tags": []any{bin("a"), bin("")}}
	asSent := obj{"str:node_id": str(aNodeID), "str:endpoint": str("https://127.0.0.1:1"), "str:tags": []any{str("a"), str("")}}
	tests := []struct {
		name, by string
		value    any
		want     any  // by libp2p, and by Erlang nodes where it would not crash them
		harmful  bool // to Erlang nodes, for which it is a miss
	}{
		{"bin from libp2p", "libp2p", doc{"node_id": aNodeID, "n": 1}, obj{"node_id": aNodeID, "n": int64(1)}, false},
		{"bin from Erlang", "Erlang", doc{"node_id": aNodeID, "n": 1}, obj{"node_id": aNodeID, "n": int64(1)}, false},
		{"str from libp2p is rewritten", "libp2p", inStr, read, false},
		{"str from Erlang is kept", "Erlang", inStr, asSent, true},
		{"a short node_id from libp2p", "libp2p", doc{"node_id": bin("go-1")}, obj{"node_id": bin("go-1")}, true},
		{"a short node_id from Erlang", "Erlang", doc{"node_id": bin("go-1")}, obj{"node_id": bin("go-1")}, true},
		{"none from Erlang", "Erlang", doc{"n": 1}, obj{"n": int64(1)}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key := bin("key of " + test.name)
			k := talks[test.by]()
			k.send(frame(tStore, doc{"key": key, "value": test.value}))
			k.requireAlive() // and so it is stored
			for by, open := range talks {
				reply := open().ask(tFindValue, doc{"key": key})
				if by == "Erlang" && test.harmful {
					assert.Equal(t, noValue, reply)
					continue
				}
				assert.Equal(t, byte(tFindValueReply), reply.Type)
				assert.Equal(t, []any{test.want}, reply.Fields["value"], "read by %s", by)
				assert.Equal(t, by == "libp2p", reply.Fields["expires_in"] != nil, "expires_in is for libp2p alone")
			}
		})
	}
}
