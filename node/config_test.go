package node

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// All that is wrong is said at once, each with the value that is.
func TestBadConfig(t *testing.T) {
	_, err := New(Config{
		Listen:    []string{"/ip4/0.0.0.0/tcp/9443", onLoopback4, "nonsense"},
		Bootstrap: []string{"/ip4/192.0.2.7/udp/9443/quic-v1", "boot.example.org"},
		Realm:     strings.Repeat("r", 256),
		Hostname:  "0.0.0.0",
	})
	for _, want := range []string{
		"configuration:",
		"no identity key",
		"/ip4/0.0.0.0/tcp/9443 is not a QUIC address: write /ip4/0.0.0.0/udp/9443/quic-v1",
		`"nonsense" is not a multiaddress`,
		`bootstrap address "/ip4/192.0.2.7/udp/9443/quic-v1" does not say who is there`,
		`bootstrap address "boot.example.org"`,
		"has 256 bytes: write at most 255",
		`hostname "0.0.0.0" is a wildcard`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), onLoopback4, "what is right is not complained of")
}

func TestDurableNeedsADirectoryOfItsOwn(t *testing.T) {
	for want, cfg := range map[string]Config{
		"no data directory":           {Durable: true},
		"set Store, or Durable":       {Durable: true, DataDir: "d", Store: records.NewMemoryStore()},
		"a node that is not durable":  {DiskBytes: 1 << 30},
		"limit of -1 bytes":           {Records: records.Limits{Bytes: -1}},
		"5 bytes on the disk at most": {Durable: true, DataDir: t.TempDir(), DiskBytes: 5},
	} {
		cfg.Key, cfg.Listen = newKey(t), []string{onLoopback4}
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
	}
}

func TestConfigDefaults(t *testing.T) {
	s, err := Config{Key: newKey(t)}.check()
	require.NoError(t, err)
	require.Equal(t, "macula.default", s.Realm)
	require.Equal(t, "devel", s.Version)
	require.Nil(t, s.Log)
	require.NotNil(t, s.log("node"), "go-log's")
	require.NotNil(t, s.Limits)
	require.Empty(t, s.listen)
}

// One list of bootstrap peers serves all nodes, also those that are on it.
func TestOwnAddressAmongBootstrapPeers(t *testing.T) {
	own, other := newKey(t), newKey(t)
	cfg := Config{Key: own, Bootstrap: []string{
		"/ip4/192.0.2.1/udp/9443/quic-v1/p2p/" + peerOf(t, own).String(),
		"/ip4/192.0.2.2/udp/9443/quic-v1/p2p/" + peerOf(t, other).String(),
	}}
	s, err := cfg.check()
	require.NoError(t, err)
	require.Len(t, s.bootstrap, 1)
	require.Equal(t, peerOf(t, other), s.bootstrap[0].ID)
}

func TestTakenPort(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	conflict := "/ip4/127.0.0.1/udp/" + portIn(t, taken) + "/quic-v1"
	for name, listen := range map[string][]string{
		"the only address":   {conflict},
		"one of two":         {onLoopback4, conflict},
		"one of two, before": {conflict, onLoopback4},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Key: newKey(t), Listen: listen})
			require.ErrorContains(t, err, conflict)
			require.ErrorContains(t, err, "another program")
		})
	}
}

func TestPort(t *testing.T) {
	s, err := Config{Key: newKey(t)}.check()
	require.NoError(t, err)
	require.Equal(t, uint16(9443), s.port)
	s, err = Config{Key: newKey(t), Port: 4433}.check()
	require.NoError(t, err)
	require.Equal(t, uint16(4433), s.port)
	require.Equal(t, "/ip4/0.0.0.0/udp/4433/quic-v1", quicaddr.Any(s.port)[0].String())
	require.Equal(t, "/ip6/::/udp/4433/quic-v1", quicaddr.Any(s.port)[1].String())
	_, err = Config{Key: newKey(t), Port: 4433, Listen: []string{onLoopback4}}.check()
	require.ErrorContains(t, err, "port 4433 and the listen address "+onLoopback4)
}
