package node

import (
	"context"
	"fmt"
	"io"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/transport"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
)

// quicTransport is libp2p's QUIC, which asks before it dials an address: any peer may
// say that an Erlang node's is its own, and such a node takes few connections.
type quicTransport struct {
	transport.Transport
	host *peerHost
}

func (h *peerHost) newTransport(key crypto.PrivKey, cm *quicreuse.ConnManager, psk pnet.PSK, gater connmgr.ConnectionGater, resources network.ResourceManager) (transport.Transport, error) {
	quic, err := libp2pquic.NewTransport(key, cm, psk, gater, resources)
	if err != nil {
		return nil, err
	}
	return &quicTransport{quic, h}, nil
}

// Dial implements transport.Transport.
func (t *quicTransport) Dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	if may := t.host.mayDial.Load(); may != nil {
		if ap, ok := quicAddrPort(addr); ok && !(*may)(ap) {
			return nil, fmt.Errorf("%s is dialled as an Erlang node too, and was as often as such a one takes it: try again in some seconds", addr)
		}
	}
	return t.Transport.Dial(ctx, addr, p)
}

// Close implements io.Closer.
func (t *quicTransport) Close() error {
	if c, ok := t.Transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
