package rpc

import (
	"bytes"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// slotGrace is for how much longer than a call lasts the place of its answer is kept.
const slotGrace = 200 * time.Millisecond

// deferred keeps the place of an answer: in the order of those of its stream, or, where
// the asker is an Erlang node that has CONNECTed on it, and so tells them apart by their
// ids, out of it.
func (c *Calls) deferred(p *server.Peer, apart bool, late wire.Message) (*server.Slot, error) {
	keep := min(c.cfg.limits.Time+slotGrace, c.handlers.Mux().Limits().SlotTime)
	if apart {
		return p.DeferApart(keep, late)
	}
	return p.Defer(keep, late)
}

// answering returns what fills a slot with what came of a call. Where it does not fit a
// frame, or its asker has no room for it, that is the answer.
func answering(slot *server.Slot, message func(outcome.Outcome) wire.Message) func(outcome.Outcome) {
	return func(o outcome.Outcome) {
		err := slot.Fill(message(o))
		switch {
		case errors.Is(err, framing.ErrTooLarge):
			_ = slot.Fill(message(outcome.Failed(wire.CodeTooLarge, "%v", err)))
		case errors.Is(err, server.ErrBusy):
			_ = slot.Fill(message(outcome.Failed(wire.CodeBusy, "No room for the result"))) // else it gets the one for who is late
		}
	}
}

// unordered reports whether a peer's answers need no order: it is an Erlang node
// that has CONNECTed on this stream.
func unordered(p *server.Peer) bool { return p.Connected() && !p.Session().Dialect.Extended }

// ServeCall implements [dht.Calls]: a CALL is answered by REPLY.
func (c *Calls) ServeCall(p *server.Peer, f framing.Frame, m *wire.Call) error {
	id := payload.IDOf(bytes.Clone(m.CallID))
	reply := func(o outcome.Outcome) wire.Message {
		result, why := o.In(payload.Payload.Value)
		if why != nil && why.Code == wire.ErrorProcedureNotFound {
			why = dht.NoSuchProcedure
		}
		return &wire.Reply{CallID: id, Result: result, Error: why}
	}
	if m.Realm != "" && m.Realm != c.handlers.Realm() {
		return p.Reply(reply(c.otherRealm(m.Realm)))
	}
	slot, err := c.deferred(p, unordered(p), reply(outcome.Of(outcome.Late)))
	if err != nil {
		return err
	}
	var from []byte
	if id, is := c.clients.NodeID(p); is {
		from = []byte(id)
	}
	c.begin(&task{
		procedure: m.Procedure,
		args:      payload.OfValue(bytes.Clone(m.Args)),
		from:      from,
		payer:     c.payerOf(p, nil),
		until:     c.untilOf(0),
		answer:    answering(slot, reply),
	})
	return nil
}

// ServeRoute implements [dht.Calls]: an RPC_ROUTE call is answered by REPLY on its stream,
// or, of a libp2p peer, by RPC_ROUTE. Other RPC_ROUTEs are for nobody here.
func (c *Calls) ServeRoute(p *server.Peer, f framing.Frame) error {
	var m wire.RPCRoute
	if _, err := payload.Broken(m.Decode(bytes.Clone(f.Payload))); err != nil || m.PayloadType != wire.PayloadCall {
		return err
	}
	var call wire.Call
	wrong := call.Decode(m.Payload)
	id := payload.IDOf(call.CallID)
	fromPeer := p.Session().Dialect.Extended
	message := func(o outcome.Outcome) wire.Message {
		form := payload.Payload.Text
		if fromPeer {
			form = payload.Payload.Routed
		}
		result, why := o.In(form)
		reply := &wire.Reply{CallID: id, Result: result, Error: why}
		if fromPeer {
			return m.Answer(c.self, reply)
		}
		return reply
	}
	slot, err := p.DeferApart(min(c.cfg.limits.Time+slotGrace, c.handlers.Mux().Limits().SlotTime), message(outcome.Of(outcome.Late)))
	if err != nil {
		return err
	}
	answer := answering(slot, message)
	switch {
	case wrong != nil:
		answer(outcome.Failed(wire.CodeInvalidArgs, "Invalid payload: %v", wrong))
	case len(m.Destination) == 0:
		answer(outcome.Failed(wire.CodeInvalidArgs, "Missing required parameter: destination_node_id"))
	case call.Realm != "" && call.Realm != c.handlers.Realm():
		answer(c.otherRealm(call.Realm))
	case fromPeer && !p.Connected() && (p.Session().Met == nil || !p.Session().Met()):
		answer(outcome.Outcome{Err: server.ConnectFirst})
	case m.HopCount > 0 && m.HopCount >= m.MaxHops:
		answer(outcome.Failed(wire.CodeMaxHops, "The call has come over %d nodes, and may over %d", m.HopCount, m.MaxHops))
	default:
		c.begin(&task{
			procedure: call.Procedure,
			args:      payload.OfText(call.Args),
			target:    m.Destination,
			from:      m.Source,
			payer:     c.payerOf(p, m.Source),
			local:     fromPeer, // it has been passed on once
			until:     c.untilOf(min(call.Timeout.Or(0), c.cfg.limits.Time.Milliseconds())),
			answer:    answer,
		})
	}
	return nil
}

func (c *Calls) otherRealm(realm string) outcome.Outcome {
	return outcome.Failed(wire.ReasonRealmMismatch, "This node serves the realm %q, not %q", c.handlers.Realm(), realm)
}

// ServeRequest implements [dht.Calls]. An RPC_REQUEST of a client here to another one goes
// there as it came, and its answer comes back so; any other is answered by RPC_REPLY on
// its stream.
func (c *Calls) ServeRequest(p *server.Peer, f framing.Frame) error {
	var m wire.RPCRequest
	field, err := payload.Broken(m.Decode(f.Payload))
	if err != nil {
		return err
	}
	own := len(m.TargetNode) == 0 || bytes.Equal(m.TargetNode, c.self)
	if !own && field == nil && !p.Session().Dialect.Extended {
		if caller, ok := c.clients.Get(m.FromNode); ok && caller.Session().Source() == p.Session().Source() {
			return c.relay(p, f, &m)
		}
	}
	id := payload.IDOf(bytes.Clone(m.RequestID))
	message := func(o outcome.Outcome) wire.Message {
		result, why := o.In(payload.Payload.Text)
		return c.rpcReply(id, result, c.errorText(why, own))
	}
	slot, err := c.deferred(p, unordered(p), message(outcome.Of(outcome.Late)))
	if err != nil {
		return err
	}
	answer := answering(slot, message)
	if field != nil {
		answer(outcome.Failed(wire.ErrorProcedureNotFound, "%v", field))
		return nil
	}
	t := c.taskOf(p, &m, answer)
	t.local = own
	c.begin(t)
	return nil
}

// taskOf returns the call that an RPC_REQUEST is.
func (c *Calls) taskOf(p *server.Peer, m *wire.RPCRequest, answer func(outcome.Outcome)) *task {
	return &task{
		procedure: m.Procedure,
		args:      payload.OfText(bytes.Clone(m.Args)),
		target:    bytes.Clone(m.TargetNode),
		from:      bytes.Clone(m.FromNode),
		payer:     c.payerOf(p, m.FromNode),
		until:     c.untilOf(0),
		answer:    answer,
	}
}

// payerOf returns who pays for what a peer calls. A libp2p peer may be a node that passes
// calls on, of nodes that it names.
func (c *Calls) payerOf(p *server.Peer, from []byte) fair.Payer {
	payer := p.Session().Payer()
	if p.Session().Dialect.Extended {
		payer.For = string(from[:min(len(from), wire.MaxField)])
	}
	return payer
}

func (c *Calls) rpcReply(id []byte, result wire.Raw, why string) *wire.RPCReply {
	return &wire.RPCReply{RequestID: id, FromNode: c.self, Result: result, Error: why, Timestamp: wire.Some(time.Now().UnixMilli())}
}

// errorText returns an error as an RPC_REPLY has it: its word where it is one of this
// protocol's, else its text. Of what a gateway itself executes it is the reference's.
func (c *Calls) errorText(why *wire.CallError, own bool) string {
	switch {
	case why == nil:
		return ""
	case own && why.Code == wire.ErrorProcedureNotFound && !c.servesAny():
		return wire.ErrorNoHandler
	case !own && why.Code == wire.CodeNotRouted, !own && why.Code == wire.ErrorProcedureNotFound:
		return wire.ErrorTargetNotFound
	case why.Code == wire.CodeHandlerError:
		return why.Message
	default:
		return why.Code
	}
}

// servesAny reports whether anything is served at this node, beside the diagnostics.
func (c *Calls) servesAny() bool {
	if c.registry.Len() > 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.served {
		if p.offer != nil {
			return true
		}
	}
	return false
}
