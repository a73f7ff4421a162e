package node

import (
	"fmt"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
)

// Bootstrap is whom a node begins at: a libp2p peer or an Erlang gateway.
type Bootstrap struct {
	Peer    *peer.AddrInfo          // nil for a gateway
	Gateway identity.PinnedEndpoint // zero for a peer
}

// ParseBootstrap reads an entry of Config.Bootstrap: what ParsePeer or
// identity.ParsePinnedEndpoint reads.
func ParseBootstrap(text string) (Bootstrap, error) {
	if strings.HasPrefix(text, "/") {
		p, err := ParsePeer(text)
		return Bootstrap{Peer: p}, err
	}
	e, err := identity.ParsePinnedEndpoint(text)
	if err != nil {
		return Bootstrap{}, fmt.Errorf("%q is neither a multiaddr with /p2p nor an endpoint: %w", text, err)
	}
	return Bootstrap{Gateway: e}, nil
}

// ParsePeer reads the multiaddr, with /p2p, of a peer that may be reached: by QUIC,
// which is all that a node speaks, through a relay, or where a /dnsaddr says.
func ParsePeer(text string) (*peer.AddrInfo, error) { return quicaddr.ParsePeer(text) }
