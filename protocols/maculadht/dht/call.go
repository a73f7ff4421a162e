package dht

import (
	"errors"
	"fmt"
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
	case !wire.IsDHTProcedure(m.Procedure) && h.calls.Load() != nil:
		return (*h.calls.Load()).ServeCall(a.Peer, f, &m)
	case m.Procedure == wire.ProcedurePeerInfo && h.cfg.peerID != "":
		info := procedures.PeerInfo{
			PeerID: h.cfg.peerID.String(),
			Addrs:  addressing.EncodeAddrs(h.AddrsFor(a.reach())),
			Realm:  h.cfg.realm,
		}
		reply.Result = info.Raw()
	default:
		reply.Error = NoSuchProcedure
	}
	return a.Reply(reply)
}

// NoSuchProcedure answers a CALL of a procedure that nobody serves, as the reference
// does.
var NoSuchProcedure = &wire.CallError{
	Code:    wire.CodeBootstrapOnly,
	Message: "Gateway is bootstrap-only. Discover service via DHT and call peer directly",
}

// Calls serves what asks for procedures that are not the DHT's own. Its methods are
// handlers, see [server.Handler].
type Calls interface {
	// ServeCall answers a CALL.
	ServeCall(p *server.Peer, f framing.Frame, m *wire.Call) error
	// ServeRequest answers an RPC_REQUEST, or passes it on.
	ServeRequest(p *server.Peer, f framing.Frame) error
	// ServeRoute answers an RPC_ROUTE that is a call, or passes it on.
	ServeRoute(p *server.Peer, f framing.Frame) error
}

// ServeCalls has c serve all procedures but the DHT's own. Without it who asks for one
// is told that there is none. It fails with [server.ErrHandled] where another does.
func (h *Handlers) ServeCalls(c Calls) error {
	if c == nil {
		return errors.New("dht: what serves calls is nil")
	}
	if !h.calls.CompareAndSwap(nil, &c) {
		return fmt.Errorf("dht: %w: procedures", server.ErrHandled)
	}
	return nil
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
	if c := h.calls.Load(); c != nil {
		return (*c).ServeRequest(a.Peer, f)
	}
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
// (docs/WIRE.md).
func (h *Handlers) serveRPCRoute(a *asker, f framing.Frame) error {
	if c := h.calls.Load(); c != nil {
		return (*c).ServeRoute(a.Peer, f)
	}
	answer, err := h.refuseRPCRoute(a.Peer, f, &wire.CallError{
		Code:    wire.CodeNotRouted,
		Message: "This node passes no calls on. Discover the service via DHT and call its endpoint directly",
	})
	if err != nil || answer == nil {
		return err
	}
	return a.Reply(answer)
}
