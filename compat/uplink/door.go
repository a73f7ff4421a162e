package uplink

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// mostAddrs is how many addresses of a peer are used.
const mostAddrs = 8

// askPeer asks a node which libp2p peer it is. An Erlang node knows no such
// procedure and says so; then there is none.
func (u *uplink) askPeer(contact routing.Contact, c *dialer.Conn) (*peer.AddrInfo, error) {
	if u.cfg.found == nil {
		return nil, nil
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	m, err := c.Query(u.ctx, contact, &wire.Call{Procedure: wire.ProcedurePeerInfo, Args: wire.RawMap(), CallID: id})
	if errors.Is(err, proto.ErrRemote) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	reply, ok := m.(*wire.Reply)
	if !ok {
		return nil, nil
	}
	var told procedures.PeerInfo
	if err := told.Decode(reply.Result); err != nil {
		u.log.Debug("what the node says of its peer can not be read", "err", err)
		return nil, nil
	}
	p, err := peer.Decode(told.PeerID)
	if err != nil {
		u.log.Debug("what the node says is no peer id", "err", err)
		return nil, nil
	}
	if routing.IDFromPeer(p) == u.handlers.Routing().Self() {
		return nil, errOurself
	}
	if told.Realm != u.handlers.Realm() {
		return nil, &realmError{u.endpoint, told.Realm, u.handlers.Realm(), true}
	}
	at, err := dialer.Multiaddr(c.RemoteAddr())
	if err != nil {
		return nil, err
	}
	return &peer.AddrInfo{ID: p, Addrs: u.usable(at, told.Addrs, c)}, nil
}

// usable returns where a peer is: the address at which it answered, and those of the
// told ones that are at its IP address. Others, which a liar could have us dial, it
// tells when it has been met.
func (u *uplink) usable(at ma.Multiaddr, told [][]byte, c *dialer.Conn) []ma.Multiaddr {
	addrs := []ma.Multiaddr{at}
	from := c.RemoteAddr().Addr()
	for _, b := range told[:min(len(told), proto.MaxGateways)] {
		addr, err := ma.NewMultiaddrBytes(b)
		if err != nil {
			continue
		}
		addr, _ = peer.SplitAddr(addr)
		ip, err := manet.ToIP(addr)
		if err != nil || relayed(addr) || toAddr(ip) != from || contains(addrs, addr) {
			continue
		}
		if addrs = append(addrs, addr); len(addrs) == mostAddrs {
			break
		}
	}
	return addrs
}

func relayed(addr ma.Multiaddr) bool {
	_, err := addr.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

func contains(addrs []ma.Multiaddr, addr ma.Multiaddr) bool {
	for _, a := range addrs {
		if bytes.Equal(a.Bytes(), addr.Bytes()) {
			return true
		}
	}
	return false
}

// errPeer: a macula-node answers, which is no gateway to have a session with.
var errPeer = errors.New("a macula-node answers there, which is joined over libp2p")

// enter has the peer behind an endpoint joined, unless it is already.
func (u *uplink) enter(p peer.AddrInfo) error {
	if u.peer != p.ID {
		u.leavePeer()
		ctx, leave := context.WithCancel(u.ctx)
		u.peer, u.leavePeer = p.ID, func() { leave(); u.peer = "" }
		u.log.Info("a macula-node answers at the endpoint: joining it as a libp2p peer, not as an Erlang gateway", "peer", p.ID, "addrs", p.Addrs)
		u.cfg.found(ctx, p)
	}
	return fmt.Errorf("%w: peer %s", errPeer, p.ID)
}
