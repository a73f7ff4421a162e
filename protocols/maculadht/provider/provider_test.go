package provider

import (
	ma "github.com/multiformats/go-multiaddr"

	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// A record's addresses are its provider's, or nobody's.
func TestAddressesOfARecord(t *testing.T) {
	p, other := dhttest.PeerID(t), dhttest.PeerID(t)
	at := []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.7/udp/9443/quic-v1")}
	id := routing.IDFromPeer(p)
	list := func(p peer.ID) wire.Raw {
		var raw []wire.Raw
		for _, b := range addressing.EncodePeerAddrs(p, at) {
			raw = append(raw, wire.RawBytes(b))
		}
		return wire.RawArray(raw...)
	}
	for name, test := range map[string]struct {
		nodeID []byte
		addrs  wire.Raw
		want   peer.AddrInfo
	}{
		"its own":       {id[:], list(p), peer.AddrInfo{ID: p, Addrs: at}},
		"somebody's":    {id[:], list(other), peer.AddrInfo{}},
		"no provider's": {nil, list(p), peer.AddrInfo{}},
		"no list":       {id[:], wire.RawText("x"), peer.AddrInfo{}},
		"no addresses":  {id[:], wire.RawArray(wire.RawInt(1), wire.RawText("x")), peer.AddrInfo{}},
		"too long":      {id[:], wire.RawArray(wire.RawBytes(make([]byte, 1000))), peer.AddrInfo{}},
	} {
		t.Run(name, func(t *testing.T) {
			v := lookup.FoundValue{Value: values.Value{NodeID: test.nodeID, Raw: wire.RawMap(wire.Pair{Key: "addrs", Value: test.addrs})}}
			require.Equal(t, test.want, Of(v).Peer)
		})
	}
}
