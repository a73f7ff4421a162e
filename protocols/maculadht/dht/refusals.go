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

func refuseRPCRoute(p *server.Peer, f framing.Frame, why *wire.CallError) (wire.Message, error) {
	id, isCall, err := routedCall(p, f)
	if err != nil || !isCall {
		return nil, err
	}
	return &wire.Reply{CallID: id, Error: why}, nil
}
