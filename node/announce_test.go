package node

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Addresses that a node can not see itself are told to peers, and to Erlang nodes.
func TestAnnounce(t *testing.T) {
	const announced, byName = "/ip4/192.0.2.7/udp/19443/quic-v1", "/dns4/node.example.org/udp/443/quic-v1"
	key := newKey(t)
	n, err := New(Config{Key: key, Listen: []string{onLoopback4}, Announce: []string{announced, byName}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	require.Equal(t, "https://192.0.2.7:19443", n.Endpoint())
	require.Equal(t, []string{"https://192.0.2.7:19443", "https://node.example.org:443"}, n.Endpoints()[:2])
	told := texts(n.Addrs())
	for _, addr := range []string{announced, byName} {
		require.Contains(t, told, addr+"/p2p/"+n.Host().ID().String())
	}
	require.Contains(t, strings.Join(told, " "), "/ip4/127.0.0.1/udp/", "its own are told too")
}

func TestAnnouncedAsAnother(t *testing.T) {
	const other = "/ip4/192.0.2.7/udp/1/quic-v1/p2p/12D3KooWEn3KXGXEAzdQGFPH3JsoUTyHtS5TK5YKozKs1xJ8cUx1"
	for name, cfg := range map[string]Config{"by its key": {Key: newKey(t)}, "by the key that it has made": {DataDir: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			cfg.Listen, cfg.Announce = []string{onLoopback4}, []string{other}
			_, err := New(cfg)
			require.ErrorContains(t, err, "announced address: "+other+" is of another node: write it without /p2p")
		})
	}
	_, err := New(Config{Key: newKey(t), Listen: []string{onLoopback4}, Announce: []string{"/ip4/0.0.0.0/udp/1/quic-v1"}})
	require.ErrorContains(t, err, "announced address: /ip4/0.0.0.0/udp/1/quic-v1 is no address that others could dial")
}
