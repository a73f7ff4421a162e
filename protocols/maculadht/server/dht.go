package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// register has the DHT's messages handled.
func (h *Handlers) register(m *Mux) error {
	var errs error
	for t, handler := range map[wire.Type]Handler{
		wire.TypeFindValue:  h.serveFindValue,
		wire.TypeFindNode:   h.serveFindNode,
		wire.TypeCall:       h.serveCall,
		wire.TypeStore:      h.serveStore,
		wire.TypePing:       h.servePing,
		wire.TypeConnect:    h.serveConnect,
		wire.TypeNATProbe:   h.serveNATProbe,
		wire.TypeRPCRequest: h.serveRPCRequest,
		wire.TypeRPCRoute:   h.serveRPCRoute,
	} {
		errs = errors.Join(errs, m.Handle(t, handler))
	}
	for t, refusal := range map[wire.Type]Refusal{
		wire.TypeFindValue:  refuseFindValue,
		wire.TypeFindNode:   refuseFindNode,
		wire.TypeCall:       refuseCall,
		wire.TypeRPCRequest: h.refuseRPCRequest,
		wire.TypeRPCRoute:   refuseRPCRoute,
	} {
		errs = errors.Join(errs, m.Refuse(t, refusal))
	}
	return errs
}

func refuseFindValue(_ *Peer, f wire.Frame, why *wire.CallError) (wire.Message, error) {
	return &wire.FindValueReply{Reason: why.Code}, f.Check()
}

func refuseFindNode(_ *Peer, f wire.Frame, why *wire.CallError) (wire.Message, error) {
	return &wire.FindNodeReply{Reason: why.Code}, f.Check()
}

func refuseCall(_ *Peer, f wire.Frame, why *wire.CallError) (wire.Message, error) {
	var m wire.Call
	_, err := broken(m.Decode(f.Payload))
	return &wire.Reply{CallID: orUndefined(m.CallID), Error: why}, err
}

// refuseRPCRequest answers all but libp2p peers that ask too much.
func (h *Handlers) refuseRPCRequest(p *Peer, f wire.Frame, why *wire.CallError) (wire.Message, error) {
	if why == overBudget && p.session.Dialect.Extended {
		return nil, nil
	}
	var m wire.RPCRequest
	_, err := broken(m.Decode(f.Payload))
	return h.rpcError(&m, why.Code), err
}

func refuseRPCRoute(p *Peer, f wire.Frame, why *wire.CallError) (wire.Message, error) {
	id, isCall, err := routedCall(p, f)
	if err != nil || !isCall {
		return nil, err
	}
	return &wire.Reply{CallID: id, Error: why}, nil
}

// broken returns err unless it is about a field, which the caller answers.
func broken(err error) (field *wire.FieldError, fatal error) {
	if field, ok := errors.AsType[*wire.FieldError](err); ok {
		return field, nil
	}
	return nil, err
}

// findScratch is what a stream decodes FIND_VALUE into, and its answer.
type findScratch struct {
	question wire.FindValue
	answer   wire.FindValueReply
	merged   []records.Record
}

func (h *Handlers) serveFindValue(p *Peer, f wire.Frame) error {
	question, answer := &p.find.question, &p.find.answer
	field, err := broken(question.Decode(f.Payload))
	switch {
	case err != nil:
		return err
	case field == nil:
		d := p.session.Dialect
		limit := proto.MaxFindValueReply
		if d.FirstPacket > 0 && !p.Connected() {
			limit = d.FirstPacket
		}
		if d.Proxied && h.cfg.resolver != nil {
			return h.resolveValue(p, question.Key, limit)
		}
		h.findValue(p.ctx, answer, question.Key, p.audience(), limit)
		err := p.Reply(answer)
		clear(answer.Values) // a quiet stream keeps no records alive
		return err
	case errors.Is(field, wire.ErrMissingField):
		return p.Reply(&wire.FindValueReply{Reason: wire.ReasonMissingKey})
	default:
		return p.Reply(&wire.FindValueReply{Reason: wire.ReasonInvalidKey})
	}
}

func (h *Handlers) serveFindNode(p *Peer, f wire.Frame) error {
	var m wire.FindNode
	field, err := broken(m.Decode(f.Payload))
	switch {
	case err != nil:
		return err
	case field == nil:
		return p.Reply(&wire.FindNodeReply{Nodes: h.nodes(m.Target, p.audience())})
	case errors.Is(field, wire.ErrMissingField):
		return p.Reply(&wire.FindNodeReply{Reason: wire.ReasonMissingTarget})
	default:
		return p.Reply(&wire.FindNodeReply{Reason: wire.ReasonInvalidTarget})
	}
}

func (h *Handlers) serveStore(p *Peer, f wire.Frame) error {
	var m wire.Store
	field, err := broken(m.Decode(f.Payload))
	switch {
	case err != nil:
		return err
	case field != nil:
		h.count.dropped.Add(1)
	default:
		h.HandleStore(p.ctx, &m, p.from, p.session.Dialect)
	}
	return nil
}

func (h *Handlers) servePing(p *Peer, f wire.Frame) error {
	var m wire.Ping
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	return p.Reply(&wire.Pong{
		Timestamp:  wire.Some(m.Timestamp.Or(now)),
		ServerTime: wire.Some(now),
	})
}

func (h *Handlers) serveConnect(p *Peer, f wire.Frame) error {
	var m wire.Connect
	field, err := broken(m.Decode(f.Payload))
	if err != nil {
		return err
	}
	keep := p.session.Dialect.KeepConnected
	if keep && !p.kept {
		p.keep()
	}
	if why := h.admit(p, &m, field); why != nil {
		if err := p.Reply(why); err != nil || keep {
			h.turnedAway(p, why)
			return err
		}
		return &TurnedAwayError{Reason: why.Reason, Message: why.Message}
	}
	p.connected.Store(true)
	p.refused = nil
	p.asker = routing.IDFromBytes(m.NodeID)
	now := time.Now().UnixMilli()
	pong := &wire.Pong{
		Timestamp:  wire.Some(now),
		ServerTime: wire.Some(now),
		NodeID:     h.nodeID,
		Endpoint:   h.EndpointFor(p.session.reach()),
	}
	if p.session.Dialect.Extended {
		pong.RealmID = h.cfg.realm
		pong.Addrs = routing.EncodeAddrs(h.AddrsFor(p.session.reach()))
		pong.StoreID = h.server.Records().StoreID()
	}
	if err := p.Reply(pong); err != nil {
		return err
	}
	h.neverName(p, m.NodeID, m.Endpoint)
	if keep { // now that whatever is pushed comes after the PONG
		h.clients.add(m.NodeID, p)
	}
	return nil
}

// turnedAway notes that a CONNECT was refused on a stream that goes on.
func (h *Handlers) turnedAway(p *Peer, why *wire.Disconnect) {
	p.connected.Store(false)
	p.refused = &wire.CallError{Code: why.Reason, Message: why.Message}
	h.clients.drop(p)
	if p.session.TurnedAway != nil {
		p.session.TurnedAway(why)
	}
}

// admit returns nil, or why the peer is turned away.
func (h *Handlers) admit(p *Peer, m *wire.Connect, field *wire.FieldError) *wire.Disconnect {
	switch {
	case m.RealmID != h.cfg.realm:
		return &wire.Disconnect{Reason: wire.ReasonRealmMismatch,
			Message: fmt.Sprintf("This node serves the realm %q, not %q", h.cfg.realm, m.RealmID)}
	case field != nil && m.NodeID == nil:
		return &wire.Disconnect{Reason: wire.ReasonInvalidConnect, Message: field.Error()}
	case p.session.Admit == nil:
		return nil
	}
	return p.session.Admit(p, m)
}

func (h *Handlers) serveNATProbe(p *Peer, f wire.Frame) error {
	var m wire.NATProbe
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return err
	}
	reply := &wire.NATProbeReply{
		NodeID:     h.nodeID,
		RequestID:  orUndefined(m.RequestID),
		ServerTime: wire.Some(time.Now().UnixMilli()),
	}
	if remote := p.session.Remote; remote.IsValid() {
		reply.ReflexiveIP = remote.Addr().Unmap().WithZone("").String()
		reply.ReflexivePort = int64(remote.Port())
	}
	return p.Reply(reply)
}

func (h *Handlers) serveRPCRequest(p *Peer, f wire.Frame) error {
	var m wire.RPCRequest
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return err
	}
	return p.Reply(h.rpcError(&m, wire.ErrorNoHandler))
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
func (h *Handlers) serveRPCRoute(p *Peer, f wire.Frame) error {
	id, isCall, err := routedCall(p, f)
	if err != nil || !isCall {
		return err
	}
	return p.Reply(&wire.Reply{CallID: id, Error: &wire.CallError{
		Code:    wire.CodeNotRouted,
		Message: "This node passes no calls on. Discover the service via DHT and call its endpoint directly",
	}})
}

// routedCall reports whether an RPC_ROUTE is a call whose sender waits for a REPLY,
// and of which id.
func routedCall(p *Peer, f wire.Frame) (id []byte, isCall bool, err error) {
	var m wire.RPCRoute
	if _, err := broken(m.Decode(f.Payload)); err != nil {
		return nil, false, err
	}
	if p.session.Dialect.Extended || m.PayloadType != wire.PayloadCall {
		return nil, false, nil
	}
	if field, there := m.Payload.Field("call_id"); there {
		if b, ok := field.Bytes(); ok && len(b) <= wire.MaxField {
			id = b
		}
	}
	return orUndefined(id), true, nil
}

// orUndefined gives the id back, or what the reference says where there is
// none.
func orUndefined(id []byte) []byte {
	if id == nil {
		return []byte(wire.UndefinedID)
	}
	return id
}

func (h *Handlers) serveCall(p *Peer, f wire.Frame) error {
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
		if reply.Error = h.callStore(p, m.Args); reply.Error == nil {
			reply.Result = storeOK
		}
	case m.Procedure == wire.ProcedureListGateways && !p.Charge(listGatewaysCost):
		reply.Error = overBudget
	case m.Procedure == wire.ProcedureListGateways:
		reply.Result = h.listGateways(p).Raw()
	case m.Procedure == wire.ProcedurePeerInfo && h.cfg.peerID != "":
		info := wire.PeerInfo{
			PeerID: h.cfg.peerID.String(),
			Addrs:  routing.EncodeAddrs(h.AddrsFor(p.session.reach())),
			Realm:  h.cfg.realm,
		}
		reply.Result = info.Raw()
	default:
		reply.Error = &wire.CallError{
			Code:    wire.CodeBootstrapOnly,
			Message: "Gateway is bootstrap-only. Discover service via DHT and call peer directly",
		}
	}
	return p.Reply(reply)
}

// listGatewaysCost is how many frames the list of gateways counts as, beside
// its own, in the peer's budget: it looks at each contact.
const listGatewaysCost = 100

var storeOK = wire.RawMap(wire.Pair{Key: "status", Value: wire.RawText(wire.StatusOK)})

func (h *Handlers) callStore(p *Peer, raw wire.Raw) *wire.CallError {
	var args wire.StoreArgs
	err := args.Decode(raw)
	if field, fatal := broken(err); fatal != nil {
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: args: " + fatal.Error()}
	} else if field != nil {
		return invalidArgs(field)
	}
	expiresIn := time.Duration(0)
	if left := args.ExpiresIn; left.Set {
		if left.V <= 0 {
			return &wire.CallError{Code: wire.CodeInvalidArgs,
				Message: fmt.Sprintf("Invalid parameter: expires_in: %d is not a positive number of seconds", left.V)}
		}
		expiresIn = wire.Seconds(left.V)
	}
	if err := h.store(p.ctx, args.Key, args.Value, expiresIn, true, p.from, p.session.Dialect); err != nil {
		h.count.dropped.Add(1)
		return storeError(err)
	}
	return nil
}

func invalidArgs(field *wire.FieldError) *wire.CallError {
	e := &wire.CallError{Code: wire.CodeInvalidArgs}
	if errors.Is(field, wire.ErrMissingField) {
		e.Message = "Missing required parameter: " + field.Field
	} else {
		e.Message = "Invalid parameter: " + field.Field + ": " + field.Detail
	}
	return e
}
