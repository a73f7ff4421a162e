package rpc

import (
	"bytes"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/harmless"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// relay passes an RPC_REQUEST of a client on to the newest stream of another one, as it
// came. What is to be told its sender goes to the newest stream of its from_node, not
// where it came from: Erlang nodes read nothing there.
func (c *Calls) relay(p *server.Peer, f framing.Frame, m *wire.RPCRequest) error {
	from, id := bytes.Clone(m.FromNode), bytes.Clone(m.RequestID)
	tell := func(o outcome.Outcome) {
		frame := o.Frame
		if frame == nil {
			result, why := o.In(payload.Payload.Text)
			reply := c.rpcReply(payload.IDOf(id), result, c.errorText(why, false))
			reply.Kind = wire.TextRPCReply
			frame, _ = framing.AppendFrame(nil, reply) // a result that fits, see in
		}
		if caller, ok := c.clients.Get(from); ok && frame != nil && o.Err != outcome.Late {
			_ = caller.Push(frame) // else it has ended, or waits for too much
		}
	}
	target, here := c.clients.Get(m.TargetNode)
	if here && harmless.Check(f.Payload, "request_id", "procedure", "from_node") != nil {
		c.count.harmful.Add(1)
		tell(outcome.Failed(wire.CodeInvalidArgs, ""))
		return nil
	}
	t := c.taskOf(p, m, tell)
	if !here {
		c.begin(t) // it may be behind another node
		return nil
	}
	t.until = c.untilOf(c.cfg.limits.MaxTime.Milliseconds())
	if why := c.admit(t); why != nil {
		tell(outcome.Of(why))
		return nil
	}
	c.count.requests.Add(1)
	c.askWith(t, target, c.keyOf(target, string(from), string(id)), f.Bytes())
	return nil
}

// serveRPCReply takes an RPC_REPLY: where the client that it comes from was asked, on this
// or another of its streams, and has not answered, it goes to who asked.
func (c *Calls) serveRPCReply(p *server.Peer, f framing.Frame) error {
	var m wire.RPCReply
	field, err := payload.Broken(m.Decode(f.Payload))
	if err != nil {
		return err
	}
	to := string(m.ToNode)
	if to == "" {
		to = string(c.self)
	}
	t := c.take(c.keyOf(p, to, string(m.RequestID)))
	if t == nil {
		return nil
	}
	if to != string(c.self) { // as it came
		if why := harmless.Check(f.Payload, "request_id"); why != nil {
			c.count.harmful.Add(1)
			c.finish(t, outcome.Failed(wire.CodeHandlerError, "The provider's answer is no RPC_REPLY that is passed on: %v", why))
			return nil
		}
		c.finish(t, outcome.Outcome{Frame: f.Bytes()})
		return nil
	}
	o := outcome.Outcome{Result: payload.OfText(bytes.Clone(m.Result))}
	if m.Error != "" || field != nil && m.Result == nil {
		o = outcome.Outcome{Err: outcome.ErrorOf(m.Error)}
	}
	c.answered(t, o)
	return nil
}

// serveReply takes a REPLY of who has registered a procedure.
func (c *Calls) serveReply(p *server.Peer, f framing.Frame) error {
	var m wire.Reply
	field, err := payload.Broken(m.Decode(f.Payload))
	if err != nil {
		return err
	}
	t := c.take(c.keyOf(p, "", string(m.CallID)))
	switch {
	case t == nil:
	case m.Error != nil:
		e := &wire.CallError{Code: m.Error.Code, Message: outcome.Shorten(m.Error.Message)}
		if e.Code == "" {
			e.Code = wire.CodeHandlerError
		}
		c.answered(t, outcome.Of(e))
	case field != nil && m.Result == nil:
		c.finish(t, outcome.Failed(wire.CodeHandlerError, "The provider's answer has neither a result nor an error that can be read"))
	default:
		c.finish(t, outcome.Outcome{Result: payload.OfValue(bytes.Clone(m.Result))})
	}
	return nil
}
