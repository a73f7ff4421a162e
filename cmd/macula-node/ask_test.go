package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/terminal"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/view"
	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// anyNumber is what JSON golden files hold where a number differs each time.
const anyNumber = "<number>"

// blank replaces the numbers in m by anyNumber that differ each time.
func blank(m map[string]any, names ...string) map[string]any {
	for _, name := range names {
		switch v := m[name].(type) {
		case float64:
			m[name] = anyNumber
		case []any:
			for i := range v {
				if _, is := v[i].(float64); is {
					v[i] = anyNumber
				}
			}
		}
	}
	return m
}

type object = map[string]any

// Whatever a node says of when it saw others, there is JSON to print.
func TestViewNodesOfAnyTime(t *testing.T) {
	for _, lastSeen := range []int64{math.MinInt64, -1, 0, 253_402_300_800_000, math.MaxInt64} {
		b, err := json.Marshal(view.NodesOf([]wire.Node{{ID: []byte("node"), LastSeen: lastSeen}}))
		require.NoError(t, err)
		require.Contains(t, string(b), "last_seen")
	}
}

// guest CONNECTs to the node at endpoint, until the test ends, as the Erlang node of
// that id which answers at its own.
func guest(t *testing.T, endpoint, id, own string) {
	t.Helper()
	conf := &tls.Config{NextProtos: []string{"macula"}, InsecureSkipVerify: true}
	conn, err := quic.DialAddr(t.Context(), strings.TrimPrefix(endpoint, "https://"), conf, nil)
	require.NoError(t, err)
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	s, err := conn.OpenStreamSync(t.Context())
	require.NoError(t, err)
	frame, err := framing.AppendFrame(nil, &wire.Connect{Version: "1.0", NodeID: []byte(id), RealmID: proto.DefaultRealm, Endpoint: own})
	require.NoError(t, err)
	_, err = s.Write(frame)
	require.NoError(t, err)
	require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
	_, err = framing.NewReader(s).Next()
	require.NoError(t, err)
}

// known is guest, once libp2p peers are told of it.
func known(t *testing.T, s serving, id, own string) {
	t.Helper()
	guest(t, s.Endpoints[0], id, own)
	waitFor(t, "the guest in the table", func() bool {
		return strings.Contains(macula(t, "find-node", s.Addrs[0], "k").stdout, own)
	})
}

// storeAs has a node store a value as an Erlang node does, byte for byte.
func storeAs(t *testing.T, endpoint, key string, value wire.Raw) {
	t.Helper()
	d, err := dialer.New()
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, client.Put(t.Context(), d, routing.Contact{Endpoint: endpoint}, procedures.StoreArgs{Key: []byte(key), Value: value}))
}

// TestAsking has each command against a node, by either dialect: exit code,
// text and JSON.
func TestAsking(t *testing.T) {
	erlang := gatewayDouble(t)
	_, s := started(t)
	known(t, s, erlang.ClientID(), erlang.Endpoint())
	self := object{"node_id": s.NodeID, "host": "127.0.0.1", "port": portOf(s.Endpoints[0]), "realm": "macula.default"}
	other := object{"node_id": erlang.ClientID(), "host": "127.0.0.1", "port": portOf(erlang.Endpoint()), "realm": "macula.default"}
	nodes := []any{object{"node_id": erlang.ClientID(), "address": erlang.Endpoint(), "last_seen": "<time>"}}
	someBytes := strings.Repeat("00ff", 16)
	for dialect, addr := range map[string]string{"libp2p": s.Addrs[0], "Erlang": s.Endpoints[0]} {
		t.Run(dialect, func(t *testing.T) {
			key := sha256.Sum256([]byte("greeter of " + dialect))
			digits := hex.EncodeToString(key[:])
			service := []string{"--service", "greeter of " + dialect}

			t.Run("ping", func(t *testing.T) {
				got := macula(t, "ping", addr)
				assert.Equal(t, exitOK, got.code, got.stderr)
				assert.Regexp(t, regexp.MustCompile("^"+regexp.QuoteMeta(addr)+` answered in [0-9.]+(µs|ms|s)\n$`), got.stdout)
				got = macula(t, "ping", "--json", addr)
				assert.Equal(t, object{"addr": addr, "rtt_ms": anyNumber}, blank(decodeJSON(t, got.stdout), "rtt_ms"))
			})
			t.Run("get a miss", func(t *testing.T) {
				got := macula(t, append([]string{"get", addr}, service...)...)
				assert.Equal(t, exitNotFound, got.code)
				assert.Empty(t, got.stdout)
				others := "" // over the Erlang dialect the node has asked them itself
				if dialect == "libp2p" {
					others = "; macula-node lookup asks the other nodes too"
				}
				assert.Equal(t, "macula-node: not found: nothing is stored there under "+digits+", service \"greeter of "+dialect+"\""+others+"\n", got.stderr)

				got = macula(t, append([]string{"get", "--json", addr}, service...)...)
				assert.Equal(t, exitNotFound, got.code)
				want := object{"key": digits, "values": []any{}, "proved": []any{}}
				if dialect == "libp2p" {
					want["nodes"] = nodes
				}
				assert.Equal(t, want, seen(decodeJSON(t, got.stdout)))
			})
			t.Run("put", func(t *testing.T) {
				got := macula(t, append([]string{"put", addr, `{"node_id": {"$bin": "` + someBytes + `"}, "n": 1, "ttl": 90}`}, service...)...)
				assert.Equal(t, exitOK, got.code, got.stderr)
				assert.Equal(t, "stored under "+digits+" for 1m30s\n", got.stdout)

				got = macula(t, append([]string{"put", "--json", addr, `{"node_id": "` + someID + `"}`}, service...)...)
				assert.Equal(t, exitOK, got.code, got.stderr)
				assert.Equal(t, object{"key": digits, "status": "ok", "ttl": 86400.0}, decodeJSON(t, got.stdout))
			})
			t.Run("get", func(t *testing.T) {
				got := macula(t, append([]string{"get", addr}, service...)...)
				assert.Equal(t, exitOK, got.code, got.stderr)
				assert.Equal(t, `{"node_id":"`+someID+`"}`+"\n"+`{"n":1,"node_id":{"$bin":"`+someBytes+`"},"ttl":90}`+"\n", got.stdout)
				told := "" // of values from an https:// address
				if dialect == "libp2p" {
					told = "macula-node: none of the 2 values is proved to be of its node_id\n"
				}
				assert.Equal(t, told, got.stderr)

				got = macula(t, "get", addr, digits, "--json")
				assert.Equal(t, exitOK, got.code, got.stderr)
				want := object{"key": digits, "values": []any{
					object{"node_id": someID},
					object{"node_id": object{"$bin": someBytes}, "n": 1.0, "ttl": 90.0},
				}, "proved": []any{false, false}}
				if dialect == "libp2p" {
					want["expires_in"] = []any{anyNumber, anyNumber}
				}
				assert.Equal(t, want, blank(decodeJSON(t, got.stdout), "expires_in"))
			})
			t.Run("find-node", func(t *testing.T) {
				got := macula(t, "find-node", addr, "k", "--force")
				assert.Equal(t, exitOK, got.code, got.stderr)
				asJSON := macula(t, "find-node", addr, "k", "--force", "--json")
				if dialect == "Erlang" { // Erlang nodes that know each other stall
					assert.Equal(t, "it knows no nodes\n", got.stdout)
					assert.Equal(t, object{"nodes": []any{}}, decodeJSON(t, asJSON.stdout))
					return
				}
				lines := strings.Split(got.stdout, "\n")
				require.Len(t, lines, 3)
				assert.Equal(t, []string{"NODE", "ID", "LAST", "SEEN", "ADDRESS"}, strings.Fields(lines[0]))
				assert.Regexp(t, "^"+erlang.ClientID()+`  [0-9ms]+ ago +`+erlang.Endpoint()+"$", lines[1])
				assert.Equal(t, object{"nodes": nodes}, seen(decodeJSON(t, asJSON.stdout)))
			})
			t.Run("gateways", func(t *testing.T) {
				got := macula(t, "gateways", addr)
				assert.Equal(t, exitOK, got.code, got.stderr)
				want, peers := [][]string{{"NODE", "ID", "ENDPOINT", "REALM"}, {s.NodeID, s.Endpoints[0], "macula.default"}}, []any{self}
				if dialect == "libp2p" {
					want, peers = append(want, []string{erlang.ClientID(), erlang.Endpoint(), "macula.default"}), append(peers, other)
				}
				var lines [][]string
				for line := range strings.Lines(got.stdout) {
					lines = append(lines, strings.Fields(line))
				}
				assert.Equal(t, want, lines)

				got = macula(t, "gateways", addr, "--json")
				assert.Equal(t, object{"peers": peers}, decodeJSON(t, got.stdout))
			})
		})
	}
}

// seen blanks the time at which the nodes of a reply were last seen.
func seen(m object) object {
	nodes, _ := m["nodes"].([]any)
	for _, n := range nodes {
		node := n.(object)
		if text, ok := node["last_seen"].(string); ok {
			if at, err := time.Parse(time.RFC3339, text); err == nil && time.Since(at).Abs() < time.Minute {
				node["last_seen"] = "<time>"
			}
		}
	}
	return m
}

func portOf(endpoint string) float64 {
	var port float64
	for _, digit := range endpoint[strings.LastIndex(endpoint, ":")+1:] {
		port = 10*port + float64(digit-'0')
	}
	return port
}

// TestFindNodeListsPeers: a libp2p peer shows with its peer id and multiaddrs, and
// to Erlang nodes with what they know.
func TestFindNodeListsPeers(t *testing.T) {
	_, s := started(t)
	_, other := started(t, "--bootstrap", s.Addrs[0])
	var got output
	waitFor(t, "the other node in the table", func() bool {
		got = macula(t, "find-node", "--json", s.Addrs[0], "k")
		return len(decodeJSON(t, got.stdout)["nodes"].([]any)) > 0
	})
	assert.Equal(t, object{"nodes": []any{object{
		"node_id": other.NodeID, "peer_id": other.PeerID, "address": other.Endpoints[0],
		"addrs":     []any{strings.TrimSuffix(other.Addrs[0], "/p2p/"+other.PeerID)},
		"last_seen": "<time>",
	}}}, seen(decodeJSON(t, got.stdout)))

	got = macula(t, "find-node", s.Addrs[0], "k")
	assert.Contains(t, got.stdout, other.NodeID)
	assert.Contains(t, got.stdout, other.Endpoints[0]+" /ip4/127.0.0.1/udp/")

	got = macula(t, "find-node", "--force", "--json", s.Endpoints[0], "k")
	assert.Equal(t, object{"nodes": []any{object{
		"node_id": other.NodeID, "address": other.Endpoints[0], "last_seen": "<time>",
	}}}, seen(decodeJSON(t, got.stdout)))
	got = macula(t, "find-node", "--force", s.Endpoints[0], "k")
	assert.Regexp(t, "\n"+other.NodeID+`  [0-9ms]+ ago +`+other.Endpoints[0]+"\n$", got.stdout)
}

// TestFlagsAnywhere: flags stand before or behind the arguments, with = or
// without.
func TestFlagsAnywhere(t *testing.T) {
	_, s := started(t)
	addr := s.Endpoints[0]
	require.Equal(t, exitOK, macula(t, "put", addr, "k", provider).code)
	for _, args := range [][]string{
		{"get", "--json", addr, "k"},
		{"get", addr, "--json", "k"},
		{"get", addr, "k", "--json"},
		{"get", "--timeout=5s", addr, "k", "--json"},
		{"get", addr, "k", "--timeout", "5s", "--json"},
		{"get", "--json", "--", addr, "k"},
	} {
		got := macula(t, args...)
		assert.Equal(t, exitOK, got.code, "%v: %s", args, got.stderr)
		assert.Equal(t, `{"key":"k","values":[`+provider+`],"proved":[false]}`+"\n", got.stdout, "%v", args)
	}
}

// TestKeys: a KEY is 64 hexadecimal digits or a text; --service and --topic are
// the hash of a name.
func TestKeys(t *testing.T) {
	_, s := started(t)
	sum := sha256.Sum256([]byte("name"))
	hashed := hex.EncodeToString(sum[:])
	for _, test := range []struct {
		args []string
		key  string
	}{
		{[]string{"--service", "name"}, hashed},
		{[]string{"--topic", "name"}, hashed},
		{[]string{hashed}, hashed},
		{[]string{strings.ToUpper(hashed)}, hashed},
		{[]string{"name"}, "name"},
		{[]string{hashed[2:]}, hashed[2:]},
		{[]string{"0x00ff"}, "0x00ff"},
		{[]string{"0x6b"}, "k"},
		{[]string{"0xno"}, "0xno"},
		{[]string{"sensor temp"}, "0x73656e736f722074656d70"},
		{[]string{"ключ"}, "ключ"},
		{[]string{"a\u00a0b"}, "0x61c2a062"},
		{[]string{"https://a.example"}, "0x68747470733a2f2f612e6578616d706c65"},
		{[]string{strings.Repeat("k", 32)}, strings.Repeat("6b", 32)},
		{[]string{"--", "-k"}, "0x2d6b"},
	} {
		args := append([]string{"get", "--json", s.Endpoints[0]}, test.args...)
		got := macula(t, args...)
		assert.Equal(t, test.key, decodeJSON(t, got.stdout)["key"], "%v", test.args)
		assert.Contains(t, got.stderr, " under "+test.key)
		if typed := test.args[len(test.args)-1]; typed != test.key {
			assert.Contains(t, got.stderr, fmt.Sprintf("%q", typed), "what was typed")
		}
		again := macula(t, "get", "--json", s.Endpoints[0], test.key)
		assert.Equal(t, got.stdout, again.stdout, "what is printed is accepted back")
	}
}

// TestStoredUnder: what put prints for a key is taken by get.
func TestStoredUnder(t *testing.T) {
	_, s := started(t)
	for _, key := range []string{"k", "two words", "https://a.example", "0x0aff", strings.Repeat("ab", 32), strings.Repeat("x", 32), "é\u200d"} {
		got := macula(t, "put", s.Addrs[0], key, `{"node_id": "`+someID+`"}`)
		require.Equal(t, exitOK, got.code, got.stderr)
		printed := regexp.MustCompile(`stored under (\S+) for`).FindStringSubmatch(got.stdout)
		require.NotNil(t, printed, got.stdout)
		got = macula(t, "get", s.Addrs[0], printed[1])
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Contains(t, got.stdout, someID)
	}
}

// TestValuesComeBack: what is printed of a value can be put in again.
func TestValuesComeBack(t *testing.T) {
	_, s := started(t)
	for i, value := range []string{
		`{"f":[2.0,0.1,-0.0,1e+300],"i":[9007199254740993,18446744073709551615,-9223372036854775808],"node_id":"` + someID + `"}`,
		"{\"a\":\"می\u200cخواهم 👩\u200d🚀 a\u00a0b\u3000c\",\"b\":\"1\\r\\n2\",\"node_id\":\"" + someID + "\"}",
		`{"a":"\u001b[31m\u009b\u202e\u0000","b":{"$bin":"ff"},"node_id":"` + someID + `"}`,
	} {
		for _, addr := range []string{s.Addrs[0], s.Endpoints[0]} {
			key := fmt.Sprintf("v%d", i)
			got := macula(t, "put", addr, key, value)
			require.Equal(t, exitOK, got.code, got.stderr)
			got = macula(t, "get", addr, key)
			require.Equal(t, value+"\n", got.stdout)
			got = macula(t, "get", addr, key, "--json")
			require.Contains(t, got.stdout, `"values":[`+value+`]`)
		}
	}
}

// TestListsOfAnErlangNode: it sends a list of small integers as a text.
func TestListsOfAnErlangNode(t *testing.T) {
	_, s := started(t)
	value := wire.Raw("\x83\xc4\x07node_id\xc4\x40" + someID + "\xc4\x05ports\xa6ⓣⓤ\xc4\x04none\xa0")
	const want = `{"node_id":"` + someID + `","none":[],"ports":[9443,9444]}`
	storeAs(t, s.Endpoints[0], "k", value)
	for _, addr := range []string{s.Addrs[0], s.Endpoints[0]} {
		got := macula(t, "get", addr, "k")
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Equal(t, want+"\n", got.stdout)
		require.Contains(t, macula(t, "get", addr, "k", "--json").stdout, `"values":[`+want+`]`)
	}
}

// TestNobodyThere: exit code 3, and a text that says where nobody answered, how
// long was waited and what to do.
func TestNobodyThere(t *testing.T) {
	port := silence(t)
	addrs := map[string]string{"libp2p": "/ip4/127.0.0.1/udp/" + port + "/quic-v1/p2p/" + somePeer, "Erlang": "https://127.0.0.1:" + port}
	for dialect, addr := range addrs {
		for _, args := range [][]string{
			{"ping", addr}, {"gateways", addr}, {"get", addr, "k"}, {"put", addr, "k", provider}, {"find-node", addr, "k", "--force"},
		} {
			t.Run(dialect+"/"+args[0], func(t *testing.T) {
				t.Parallel() // each waits
				got := macula(t, append(args, "--timeout", "200ms")...)
				assert.Equal(t, exitUnreachable, got.code)
				assert.Empty(t, got.stdout)
				assert.Regexp(t, "^macula-node: no answer from "+regexp.QuoteMeta(addr)+" within [0-9.]+m?s: check the address, and that the node runs .*; --timeout sets how long to wait\n$", got.stderr)
				assert.NotContains(t, got.stderr, "deadline")
			})
		}
	}
}

// TestRefused: a node that answers with an error makes exit code 3, with its
// words.
func TestRefused(t *testing.T) {
	_, s := started(t)
	info, err := peer.AddrInfoFromString(s.Addrs[0])
	require.NoError(t, err)
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(t, err)
	defer h.Close()
	owner, err := client.New(h)
	require.NoError(t, err)
	defer owner.Close()
	id := routing.IDFromPeer(h.ID())
	value := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(id[:])})
	to := routing.Contact{ID: routing.IDFromPeer(info.ID), Peer: info.ID, Addrs: info.Addrs}
	require.NoError(t, client.Put(t.Context(), owner, to, procedures.StoreArgs{Key: []byte("k"), Value: value}))

	for _, addr := range []string{s.Addrs[0], s.Endpoints[0]} {
		got := macula(t, "put", addr, "k", `{"node_id": {"$bin": "`+id.String()+`"}, "n": 2}`)
		assert.Equal(t, exitUnreachable, got.code)
		assert.Empty(t, got.stdout)
		assert.Contains(t, got.stderr, "not_owner")
		assert.NotContains(t, got.stderr, "check the address")
	}
}

// TestAnotherPeerThere: the right address with the wrong peer id.
func TestAnotherPeerThere(t *testing.T) {
	_, s := started(t)
	addr := strings.Replace(s.Addrs[0], s.PeerID, somePeer, 1)
	got := macula(t, "ping", addr)
	assert.Equal(t, exitUnreachable, got.code)
	assert.Equal(t, "macula-node: at "+addr+" is another node, with the peer id "+s.PeerID+
		": check the address, or write that id behind /p2p/\n", got.stderr)
}

// A peer's words do not steer the terminal.
func TestNothingSteersTheTerminal(t *testing.T) {
	erlang := gatewayDouble(t)
	_, s := started(t)
	id := "guest \x1b[31m"
	known(t, s, id, erlang.Endpoint())
	got := macula(t, "find-node", s.Addrs[0], "k")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, hex.EncodeToString([]byte(id)))
	require.NotContains(t, got.stdout, "\x1b")
	require.Equal(t, "a\nb\ufffd[31mc", terminal.Legible("a\nb\x1b[31mc"))
}
