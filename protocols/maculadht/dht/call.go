package dht

import (
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

func (h *Handlers) serveCall(a *asker, f framing.Frame) error {
	var m wire.Call
	field, err := broken(m.Decode(f.Payload))
	if err != nil {
		return err
	}
	reply := &wire.Reply{CallID: orUndefined(m.CallID)}
	switch {
	case field != nil && field.Field == "procedure":
		reply.Error = invalidArgs(field)
	case m.Procedure == wire.ProcedureStore:
		return h.callStore(a, &m)
	case m.Procedure == wire.ProcedureListGateways && !a.Charge(listGatewaysCost):
		reply.Error = server.OverBudget
	case m.Procedure == wire.ProcedureListGateways:
		reply.Result = h.listGateways(a).Raw()
	case m.Procedure == wire.ProcedurePeerInfo && h.cfg.peerID != "":
		info := procedures.PeerInfo{
			PeerID: h.cfg.peerID.String(),
			Addrs:  addressing.EncodeAddrs(h.AddrsFor(a.reach())),
			Realm:  h.cfg.realm,
		}
		reply.Result = info.Raw()
	default:
		reply.Error = &wire.CallError{
			Code:    wire.CodeBootstrapOnly,
			Message: "Gateway is bootstrap-only. Discover service via DHT and call peer directly",
		}
	}
	return a.Reply(reply)
}

// opensDoors reports whether a CALL is one by which who comes over ALPN "macula" finds
// whom to CONNECT to. That is answered before a CONNECT, too.
func opensDoors(p *server.Peer, f framing.Frame) bool {
	if p.Session().Dialect.Extended {
		return false
	}
	var m wire.Call
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return false
	}
	return m.Procedure == wire.ProcedureListGateways || m.Procedure == wire.ProcedurePeerInfo
}

// listGatewaysCost is how many frames the list of gateways counts as, beside
// its own, in the peer's budget: it looks at each contact.
const listGatewaysCost = 100

func invalidArgs(field *wire.FieldError) *wire.CallError {
	e := &wire.CallError{Code: wire.CodeInvalidArgs}
	if errors.Is(field, wire.ErrMissingField) {
		e.Message = "Missing required parameter: " + field.Field
	} else {
		e.Message = "Invalid parameter: " + field.Field + ": " + field.Detail
	}
	return e
}

func (h *Handlers) serveRPCRequest(a *asker, f framing.Frame) error {
	var m wire.RPCRequest
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return err
	}
	return a.Reply(h.rpcError(&m, wire.ErrorNoHandler))
}

func (h *Handlers) rpcError(m *wire.RPCRequest, code string) *wire.RPCReply {
	return &wire.RPCReply{
		RequestID: orUndefined(m.RequestID),
		FromNode:  h.nodeID,
		Error:     code,
		Timestamp: wire.Some(time.Now().UnixMilli()),
	}
}

// serveRPCRoute answers a call that is to be passed on, which nobody here does: an
// Erlang caller that is never answered crashes after its time-out, of 5 s
// (docs/WIRE.md). To a libp2p peer it is no request.
func (h *Handlers) serveRPCRoute(a *asker, f framing.Frame) error {
	id, isCall, err := routedCall(a.Peer, f)
	if err != nil || !isCall {
		return err
	}
	return a.Reply(&wire.Reply{CallID: id, Error: &wire.CallError{
		Code:    wire.CodeNotRouted,
		Message: "This node passes no calls on. Discover the service via DHT and call its endpoint directly",
	}})
}

// routedCall reports whether an RPC_ROUTE is a call whose sender waits for a REPLY,
// and of which id.
func routedCall(p *server.Peer, f framing.Frame) (id []byte, isCall bool, err error) {
	var m wire.RPCRoute
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return nil, false, err
	}
	if p.Session().Dialect.Extended || m.PayloadType != wire.PayloadCall {
		return nil, false, nil
	}
	if field, there := m.Payload.Field("call_id"); there {
		if b, ok := field.Bytes(); ok && len(b) <= wire.MaxField {
			id = b
		}
	}
	return orUndefined(id), true, nil
}
