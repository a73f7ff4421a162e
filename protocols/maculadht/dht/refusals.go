package dht

import (
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func refuseFindValue(_ *server.Peer, f framing.Frame, why *wire.CallError) (wire.Message, error) {
	return &wire.FindValueReply{Reason: why.Code}, f.Check()
}

func refuseFindNode(_ *server.Peer, f framing.Frame, why *wire.CallError) (wire.Message, error) {
	return &wire.FindNodeReply{Reason: why.Code}, f.Check()
}

func refuseCall(_ *server.Peer, f framing.Frame, why *wire.CallError) (wire.Message, error) {
	var m wire.Call
	_, err := broken(m.Decode(f.Payload))
	return &wire.Reply{CallID: orUndefined(m.CallID), Error: why}, err
}

// refuseRPCRequest answers all but libp2p peers that ask too much.
func (h *Handlers) refuseRPCRequest(p *server.Peer, f framing.Frame, why *wire.CallError) (wire.Message, error) {
	if why == server.OverBudget && p.Session().Dialect.Extended {
		return nil, nil
	}
	var m wire.RPCRequest
	_, err := broken(m.Decode(f.Payload))
	return h.rpcError(&m, why.Code), err
}

// refuseRPCRoute answers a call: with a REPLY who comes over ALPN "macula", and with an
// RPC_ROUTE a libp2p peer.
func (h *Handlers) refuseRPCRoute(p *server.Peer, f framing.Frame, why *wire.CallError) (wire.Message, error) {
	var m wire.RPCRoute
	if _, err := broken(m.Decode(f.Payload)); err != nil || m.PayloadType != wire.PayloadCall {
		return nil, err
	}
	var id []byte
	if field, there := m.Payload.Field("call_id"); there {
		if b, ok := field.Bytes(); ok && len(b) <= wire.MaxField {
			id = b
		}
	}
	reply := &wire.Reply{CallID: orUndefined(id), Error: why}
	if p.Session().Dialect.Extended {
		return m.Answer(h.nodeID, reply), nil
	}
	return reply, nil
}
