package dht

import (
	"errors"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server/outbox"
)

func (h *Handlers) serveFindNode(a *asker, f framing.Frame) error {
	var m wire.FindNode
	field, err := broken(m.Decode(f.Payload))
	switch {
	case err != nil:
		return err
	case field == nil:
		return a.Reply(&wire.FindNodeReply{Nodes: h.nodes(m.Target, a.audience())})
	case errors.Is(field, wire.ErrMissingField):
		return a.Reply(&wire.FindNodeReply{Reason: wire.ReasonMissingTarget})
	default:
		return a.Reply(&wire.FindNodeReply{Reason: wire.ReasonInvalidTarget})
	}
}

// HandleFindNode lists the nodes nearest to the target that are known, as the
// dialect names them to somebody on this machine; see [routing.Server.FindNode] and
// FindGateways.
func (h *Handlers) HandleFindNode(m *wire.FindNode, d server.Dialect) *wire.FindNodeReply {
	return &wire.FindNodeReply{Nodes: h.nodes(m.Target, local(&d))}
}

// nodes names them by the addresses and endpoints that are within the asker's
// reach. One that has none is not named to an Erlang node, nor an Erlang one to
// anybody.
func (h *Handlers) nodes(target []byte, to audience) []wire.Node {
	find := h.routes.FindNode
	if to.dialect.PeersAlone {
		find = h.routes.FindGateways
	}
	contacts := find(target, to.id)
	nodes := make([]wire.Node, 0, len(contacts))
	size := 0
	for i, c := range contacts {
		if to.dialect.PeersAlone && !to.asker.mayTell(c.NodeID) {
			continue
		}
		n := wire.Node{ID: c.NodeID, Address: c.Endpoint, LastSeen: max(c.LastSeen.UnixMilli(), 0)}
		if to.reach != addressing.ReachLocal {
			n.Address = to.reach.Endpoint(c.Endpoint)
		}
		if n.Address == "" && c.Endpoint != "" && (c.IsErlang() || to.dialect.PeersAlone) {
			continue
		}
		if to.dialect.Extended && !c.IsErlang() {
			n.Addrs = addressing.EncodePeerAddrs(c.Peer, to.reach.Addrs(c.Addrs))
		}
		room := maxNodeList - size - leastNode*(len(contacts)-i-1)
		for len(n.Addrs) > 1 && outbox.NodeSize(&n) > room {
			n.Addrs = n.Addrs[:len(n.Addrs)-1]
		}
		size += outbox.NodeSize(&n)
		nodes = append(nodes, n)
	}
	return nodes
}

// maxNodeList is about how long a list of nodes is at most, in bytes: of those that
// come late in it fewer addresses are told, at least one.
const maxNodeList = 16<<10 - 512

// leastNode is how much of a list is left for each node that is still to come.
const leastNode = 480
