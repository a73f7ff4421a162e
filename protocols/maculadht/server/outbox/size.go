package outbox

import "github.com/macula-mesh/macula-node/compat/wire"

// sizeOf returns about how long the frame of an answer is, seldom less: what is
// reserved before it is encoded.
func sizeOf(m wire.Message) int {
	size := 160 // the header, and what is of fixed length
	switch m := m.(type) {
	case *wire.FindValueReply:
		for _, v := range m.Values {
			size += len(v)
		}
		size += 5*len(m.ExpiresIn) + nodesSize(m.Nodes)
	case *wire.FindNodeReply:
		size += nodesSize(m.Nodes)
	case *wire.Reply:
		size += len(m.CallID) + len(m.Result)
		if m.Error != nil {
			size += len(m.Error.Message)
		}
	case *wire.Pong:
		size += len(m.NodeID) + len(m.Endpoint) + len(m.RealmID)
		for _, a := range m.Addrs {
			size += len(a) + 3
		}
	case *wire.Disconnect:
		size += len(m.Message)
	case *wire.NATProbeReply:
		size += len(m.NodeID) + len(m.RequestID)
	case *wire.Opaque:
		size += len(m.Fields)
	case *wire.RPCReply:
		size += len(m.RequestID) + len(m.FromNode) + len(m.ToNode) + len(m.Result) + len(m.Error)
	case *wire.RPCRoute:
		size += len(m.Destination) + len(m.Source) + len(m.Payload)
	}
	return size
}

func nodesSize(nodes []wire.Node) int {
	size := 0
	for i := range nodes {
		size += NodeSize(&nodes[i])
	}
	return size
}

// NodeSize returns about how long a node is in a frame, in bytes.
func NodeSize(n *wire.Node) int {
	size := 48 + len(n.ID) + len(n.Address)
	for _, a := range n.Addrs {
		size += len(a) + 3
	}
	return size
}
