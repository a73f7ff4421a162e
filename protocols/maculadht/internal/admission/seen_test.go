package admission

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

// conn is a connection as far as SeenIP looks at it.
type conn struct {
	network.Conn
	remote  string
	limited bool
}

func (c conn) RemoteMultiaddr() ma.Multiaddr { return ma.StringCast(c.remote) }
func (c conn) Stat() network.ConnStats {
	return network.ConnStats{Stats: network.Stats{Limited: c.limited}}
}

// connsOf is a network that has connections to everybody.
type connsOf struct {
	network.Network
	conns []network.Conn
}

func (n connsOf) ConnsToPeer(peer.ID) []network.Conn { return n.conns }

func TestSeenIP(t *testing.T) {
	direct := conn{remote: "/ip4/8.8.8.8/udp/1/quic-v1"}
	relayed := conn{remote: "/ip4/9.9.9.9/udp/1/quic-v1/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit", limited: true}
	near := conn{remote: "/ip4/10.0.0.1/udp/1/quic-v1/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit", limited: true}
	for name, tt := range map[string]struct {
		conns []network.Conn
		want  string
	}{
		"none":                {nil, "invalid IP"},
		"a direct one":        {[]network.Conn{direct}, "8.8.8.8"},
		"behind a relay":      {[]network.Conn{relayed}, "9.9.9.9"},
		"behind one near us":  {[]network.Conn{near}, "::"},
		"both":                {[]network.Conn{relayed, direct}, "8.8.8.8"},
		"both, the other way": {[]network.Conn{direct, relayed}, "8.8.8.8"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tt.want, SeenIP(connsOf{conns: tt.conns}, "p").String()) })
	}
}
