package dht

import (
	"cmp"
	"context"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Publisher takes a publication to a bootstrap gateway. It returns
// ErrNoConnection while there is none.
type Publisher interface {
	Publish(ctx context.Context, m *wire.Publish) error
}

// ForwardPublishToBootstrap hands a PUBLISH to the bootstrap gateway. It
// returns ErrNoConnection where there is no session with one.
//
// Deprecated: a bootstrap gateway is no broker. Look up the subscribers of the
// topic and send to them.
func (h *Handlers) ForwardPublishToBootstrap(ctx context.Context, m *wire.Publish) error {
	if h.cfg.bootstrap == nil {
		return proto.ErrNoConnection
	}
	return h.cfg.bootstrap.Publish(ctx, m)
}

// NodeInfo names a node to send to. A node with a peer id is reached over
// /macula/dht/1.0, else by its Endpoint, else by its Address.
type NodeInfo struct {
	NodeID   []byte
	Peer     peer.ID
	Addrs    []ma.Multiaddr
	Endpoint string // "https://host:port"
	Address  string // the same, or "host:port"
}

// contact returns what the network is asked for, or ErrNoEndpoint.
func (n NodeInfo) contact() (routing.Contact, error) {
	c := routing.Contact{NodeID: n.NodeID, Peer: n.Peer, Addrs: n.Addrs, Endpoint: cmp.Or(n.Endpoint, n.Address)}
	switch {
	case n.Peer != "":
		c.ID = routing.IDFromPeer(n.Peer)
	case c.Endpoint == "":
		return c, proto.ErrNoEndpoint
	default:
		c.ID = routing.IDFromBytes(n.NodeID)
		if !strings.Contains(c.Endpoint, "://") {
			c.Endpoint = "https://" + c.Endpoint
		}
	}
	return c, nil
}

// SendToPeer sends a message that has no reply. A nil error says that it left,
// not that it was taken.
func (h *Handlers) SendToPeer(ctx context.Context, to NodeInfo, m wire.Message) error {
	c, err := h.reach(to)
	if err != nil {
		return err
	}
	return h.cfg.network.Send(ctx, c, m)
}

// QueryPeer asks a node and waits for its reply, which owns its memory.
func (h *Handlers) QueryPeer(ctx context.Context, to NodeInfo, m wire.Message) (wire.Message, error) {
	c, err := h.reach(to)
	if err != nil {
		return nil, err
	}
	return h.cfg.network.Query(ctx, c, m)
}

func (h *Handlers) reach(to NodeInfo) (routing.Contact, error) {
	if h.cfg.network == nil {
		return routing.Contact{}, proto.ErrNoNetwork
	}
	return to.contact()
}
