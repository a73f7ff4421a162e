package peerhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/transport"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/internal/dials"
	"github.com/macula-mesh/macula-node/node/internal/quicaddr"
)

// quicTransport is libp2p's QUIC, which asks before it dials an address: any peer may
// say that another's is its own. Who does not answer is dialled ever less often, and an
// Erlang node takes few connections.
type quicTransport struct {
	transport.Transport
	host *Host
}

func (h *Host) newTransport(key crypto.PrivKey, cm *quicreuse.ConnManager, psk pnet.PSK, gater connmgr.ConnectionGater, resources network.ResourceManager) (transport.Transport, error) {
	quic, err := libp2pquic.NewTransport(key, cm, psk, gater, resources)
	if err != nil {
		return nil, err
	}
	h.gater = gater
	return &quicTransport{quic, h}, nil
}

// Dial implements transport.Transport.
func (t *quicTransport) Dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	if may := t.host.mayDial.Load(); may != nil {
		if ap, ok := quicaddr.AddrPort(addr); ok && !(*may)(ap) {
			return nil, fmt.Errorf("%s is dialled as an Erlang node too, and was as often as such a one takes it: try again in some seconds", addr)
		}
	}
	ap, isQUIC := quicaddr.AddrPort(addr)
	if !isQUIC || t.host.bootstraps[p] { // an operator named it
		return t.dial(ctx, addr, p)
	}
	if err := t.host.dials.Begin(ap); err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	start := time.Now()
	conn, err := t.dial(ctx, addr, p)
	t.host.dials.End(ap, outcome(ctx, err, time.Since(start)))
	return conn, err
}

func (t *quicTransport) dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	conn, err := t.Transport.Dial(ctx, addr, p)
	if err != nil {
		return nil, err
	}
	return mayGiveWay(conn), nil
}

// mayGiveWay has a connection closed when others need its place.
func mayGiveWay[C interface {
	Scope() network.ConnScope
	CloseWithError(network.ConnErrorCode) error
}](conn C) C {
	conns.Bind(conn.Scope(), func() { _ = conn.CloseWithError(network.ConnGarbageCollected) })
	return conn
}

// relayedMayGiveWay is mayGiveWay of those that come through a relay, which are none of the
// transport's: a relay that lies has any number of them.
func relayedMayGiveWay(_ network.Network, conn network.Conn) {
	if _, err := conn.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT); err == nil {
		mayGiveWay(conn)
	}
}

// Listen implements transport.Transport.
func (t *quicTransport) Listen(addr ma.Multiaddr) (transport.Listener, error) {
	ln, err := t.Transport.Listen(addr)
	if err != nil {
		return nil, err
	}
	return quicListener{ln}, nil
}

// quicListener accepts connections that may give way to others.
type quicListener struct{ transport.Listener }

// Accept implements transport.Listener.
func (l quicListener) Accept() (transport.CapableConn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return mayGiveWay(conn), nil
}

// silentAfter is for how long an address may be silent, when its dial is given up,
// without that speaking against it.
const silentAfter = 3 * time.Second

// outcome tells what a dial says of its address.
func outcome(ctx context.Context, err error, took time.Duration) dials.Outcome {
	_, refused := errors.AsType[*quic.ApplicationError](err)
	_, failed := errors.AsType[*quic.TransportError](err) // another peer id, too
	switch {
	case err == nil:
		return dials.Reached
	case refused, failed:
		return dials.Answered
	case ctx.Err() != nil && took < silentAfter: // another address was faster
		return dials.GivenUp
	default:
		return dials.Silent
	}
}

// Close implements io.Closer.
func (t *quicTransport) Close() error {
	if c, ok := t.Transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
