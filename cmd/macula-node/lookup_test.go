package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/view"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// line starts nodes of which each was told of the one before it alone, and
// returns their addresses once each is listed by the one before.
func line(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for i := range n {
		var args []string
		if i > 0 {
			args = []string{"--bootstrap", addrs[i-1]}
		}
		_, s := started(t, args...)
		addrs = append(addrs, s.Addrs[0])
		if i > 0 {
			waitFor(t, "the node to be listed", func() bool {
				return strings.Contains(macula(t, "find-node", addrs[i-1], "k", "--json").stdout, s.PeerID)
			})
		}
	}
	return addrs
}

func TestLookup(t *testing.T) {
	t.Parallel()
	addrs := line(t, 4)
	first, last := addrs[0], addrs[len(addrs)-1]

	got := macula(t, "put", "--replicate", "--bootstrap", first, "--service", "greeter", `{"node_id": "`+someID+`", "ttl": 60}`)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, "4 nodes acknowledged")

	t.Run("finds it from the other end", func(t *testing.T) {
		got := macula(t, "lookup", "--bootstrap", last, "--service", "greeter")
		require.Equal(t, exitOK, got.code, got.stderr)
		lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
		require.JSONEq(t, `{"node_id": "`+someID+`", "ttl": 60}`, lines[len(lines)-1])
		require.Regexp(t, `^hop 1  12D3KooW\S+  \S+  1 value$`, lines[0])
	})
	t.Run("with the trace as JSON", func(t *testing.T) {
		type answer struct {
			Key       string
			Values    []map[string]any
			ExpiresIn []int64 `json:"expires_in"`
			Holders   int
			Trace     []view.Hop
		}
		var v answer
		waitFor(t, "three answers with it", func() bool { // whoever is slow on a busy machine is not waited for
			got := macula(t, "lookup", "--bootstrap", last, "--service", "greeter", "--json")
			require.Equal(t, exitOK, got.code, got.stderr)
			v = answer{}
			require.NoError(t, json.Unmarshal([]byte(got.stdout), &v))
			return v.Holders >= 3
		})
		require.Len(t, v.Key, 64)
		require.Equal(t, []map[string]any{{"node_id": someID, "ttl": 60.0}}, v.Values)
		require.Len(t, v.ExpiresIn, 1)
		require.LessOrEqual(t, v.ExpiresIn[0], int64(60))
		require.Equal(t, 3, v.Holders, "three answers with it are enough")
		require.GreaterOrEqual(t, len(v.Trace), v.Holders)
		require.Equal(t, 1, v.Trace[0].Round)
		require.NotEmpty(t, v.Trace[0].PeerID)
	})
	t.Run("of nothing asks all of them", func(t *testing.T) {
		got := macula(t, "lookup", "--bootstrap", first, "nothing")
		require.Equal(t, exitNotFound, got.code, got.stderr)
		require.Equal(t, 4, strings.Count(got.stdout, "hop "), got.stdout)
		require.Contains(t, got.stderr, "none of the 4 nodes that answered has a value under nothing (4 asked)")
	})
	t.Run("goes on where one bootstrap peer is away", func(t *testing.T) {
		gone := "/ip4/127.0.0.1/udp/" + silence(t) + "/quic-v1/p2p/" + somePeer
		got := macula(t, "lookup", "--bootstrap", gone, "--bootstrap", last, "--service", "greeter")
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Contains(t, got.stdout, `{"node_id":"`+someID+`","ttl":60}`)
		require.Contains(t, got.stderr, gone+" has not answered")
	})
}

// What is proved to be its provider's is told from what is not.
func TestProvedValues(t *testing.T) {
	n, err := node.New(node.Config{DataDir: t.TempDir(), Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}})
	require.NoError(t, err)
	defer n.Close()
	addr := n.Addrs()[0].String()
	offer, err := n.Service().AdvertiseService(t.Context(), maculadht.Offer{Name: "greeter", Endpoint: "https://192.0.2.7:8080"})
	require.NoError(t, err)
	defer offer.Withdraw()
	require.Equal(t, exitOK, macula(t, "put", addr, "--service", "greeter", provider).code)
	for command, args := range map[string][]string{"get": {"get", addr}, "lookup": {"lookup", "--bootstrap", addr}} {
		args = append(args, "--service", "greeter")
		got := macula(t, args...)
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Equal(t, "macula-node: the first of the 2 values is proved to be of its node_id\n", got.stderr, command)
		lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
		require.Contains(t, lines[len(lines)-2], "192.0.2.7", command)
		shown := decodeJSON(t, macula(t, append(args, "--json")...).stdout)
		require.Equal(t, []any{true, false}, shown["proved"], command)
		require.Len(t, shown["expires_in"], 2)
	}
	got := macula(t, "get", addr, "--service", "greeter", "--realm", "other")
	require.Equal(t, "macula-node: none of the 2 values is proved to be of its node_id\n", got.stderr, "a proof is of one realm")
}

// A lookup that is not over by its --timeout says so; what is found does not wait
// for who is silent.
func TestLookupThatEndsEarly(t *testing.T) {
	t.Parallel()
	_, alive := started(t)
	stalls, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.Transport(libp2pquic.NewTransport))
	require.NoError(t, err)
	service, err := maculadht.New(stalls)
	require.NoError(t, err)
	info, err := node.ParsePeer(alive.Addrs[0])
	require.NoError(t, err)
	require.NoError(t, stalls.Connect(t.Context(), *info))
	waitFor(t, "it to be listed", func() bool {
		return strings.Contains(macula(t, "find-node", alive.Addrs[0], "k", "--json").stdout, stalls.ID().String())
	})
	stalls.SetStreamHandler(proto.ProtocolID, func(network.Stream) {}) // it takes questions, and answers none
	defer stalls.Close()
	defer service.Close()

	args := []string{"lookup", "--bootstrap", alive.Addrs[0], "k"}
	got := macula(t, args...)
	require.Equal(t, exitNotFound, got.code, got.stderr)
	require.Contains(t, got.stderr, "none of the 1 node that answered has a value under k (2 asked, 1 kept silent)")

	waitFor(t, "a lookup that ends before the silent one is given up", func() bool {
		got = macula(t, append(args, "--timeout", "700ms")...)
		return strings.Contains(got.stderr, "the lookup ended early, after 1 node answered")
	})
	require.Equal(t, exitUnreachable, got.code, got.stderr)
	require.Contains(t, got.stderr, "--timeout")

	require.Equal(t, exitOK, macula(t, "put", alive.Addrs[0], "k", `{"node_id": "`+someID+`"}`).code)
	got = macula(t, args...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, `{"node_id":"`+someID+`"}`)
}

func TestLookupRefused(t *testing.T) {
	_, s := started(t)
	gone := "/ip4/127.0.0.1/udp/" + silence(t) + "/quic-v1/p2p/" + somePeer
	for _, test := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"without a key", []string{"lookup", "--bootstrap", s.Addrs[0]}, exitUsage, []string{"KEY is missing"}},
		{"of an endpoint", []string{"lookup", "--bootstrap", s.Endpoints[0], "k"}, exitUsage, []string{s.Endpoints[0]}},
		{"of another realm", []string{"lookup", "--bootstrap", s.Addrs[0], "--realm", "other", "k"}, exitUnreachable, []string{"realm_mismatch", `"other"`}},
		{"nobody there", []string{"lookup", "--bootstrap", gone, "--timeout", "300ms", "k"}, exitUnreachable, []string{gone, "no answer"}},
		{"put without a value", []string{"put", "--replicate", "--bootstrap", s.Addrs[0], "k"}, exitUsage, []string{"VALUE is missing"}},
		{"put of no object", []string{"put", "--replicate", "--bootstrap", s.Addrs[0], "k", "[]"}, exitUsage, []string{"VALUE"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := macula(t, test.args...)
			require.Equal(t, test.code, got.code, got.stderr)
			for _, text := range test.says {
				require.Contains(t, got.stderr, text)
			}
		})
	}
}

// Who kept silent has not said that there is nothing.
func TestTally(t *testing.T) {
	key := flags.Key{Bytes: []byte("k"), Typed: `"k"`}
	silent, wrong := fmt.Errorf("%w: x", proto.ErrUnreachable), errors.New("nonsense")
	for name, test := range map[string]struct {
		hops []error
		want string
		code int
	}{
		"nobody known":       {nil, "no peers are known", exitUnreachable},
		"nobody answered":    {[]error{silent, silent}, "nobody answered: of 2 nodes asked for k, 2 kept silent", exitUnreachable},
		"all answered":       {[]error{nil, nil}, "none of the 2 nodes that answered has a value under k (2 asked)", exitNotFound},
		"one was silent":     {[]error{nil, silent, nil}, "none of the 2 nodes that answered has a value under k (3 asked, 1 kept silent)", exitNotFound},
		"one answered wrong": {[]error{nil, wrong}, "none of the 1 node that answered has a value under k (2 asked, 1 refused or answered what can not be)", exitNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			found := &lookup.Found{}
			for _, err := range test.hops {
				found.Hops = append(found.Hops, lookup.Hop{Err: err})
			}
			err := tallyOf(found).explain(key)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, test.code, exitCode(err))
		})
	}
}
