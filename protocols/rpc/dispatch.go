package rpc

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/locator"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/outcome"
)

// dispatch has a call answered by who is to answer it: what a program serves here,
// who has registered the procedure here, the client that is named, or, unless it is not
// to be passed on, who is behind another node.
func (c *Calls) dispatch(t *task) {
	here := t.target == nil || bytes.Equal(t.target, c.self)
	switch peer, registered := c.clientFor(t.procedure, t.target); {
	case here && c.runServed(t):
	case peer != nil:
		c.ask(t, peer, registered)
	case here && t.target != nil:
		c.finish(t, outcome.Failed(wire.ErrorProcedureNotFound, "This node serves no procedure %q", t.procedure))
	case t.local && here:
		c.finish(t, outcome.Failed(wire.ErrorProcedureNotFound, "Nobody at this node serves the procedure %q", t.procedure))
	case t.local:
		c.finish(t, outcome.Failed(wire.ErrorTargetNotFound, "The node %x is not connected to this one", t.target))
	case !c.spawn(func() { c.passOn(t) }):
		c.finish(t, outcome.Of(outcome.Closing))
	}
}

// clientFor returns the client that answers a call of a procedure: of a node, or of
// whoever has registered it where the node is nil or this one.
func (c *Calls) clientFor(procedure string, node []byte) (p *server.Peer, registered bool) {
	anybody := node == nil || bytes.Equal(node, c.self)
	p = c.registry.Find(procedure, func(p *server.Peer) bool {
		id, is := c.clients.NodeID(p)
		return anybody || is && id == string(node)
	})
	if p != nil {
		return p, true
	}
	if !anybody {
		p, _ = c.clients.Get(node)
	}
	return p, false
}

// passOn has a call answered by whoever else in the network is to: the nodes that the
// records of its procedure name, those first that are proved.
func (c *Calls) passOn(t *task) {
	ctx, cancel := context.WithDeadline(c.ctx, t.until)
	defer cancel()
	if !c.awaits(t, cancel) {
		return
	}
	if peer, ok := c.locator.Contact(t.target); ok {
		if c.links.ask(ctx, t, peer, t.target) == nil {
			return
		}
	}
	providers, err := c.locator.Find(ctx, t.procedure, t.payer)
	switch {
	case errors.Is(err, locator.ErrBusy):
		c.giveWay(t)
	case c.ctx.Err() != nil, errors.Is(err, maculadht.ErrClosed):
		c.finish(t, outcome.Of(outcome.Closing))
	case err != nil:
		c.finish(t, outcome.Of(outcome.Late)) // or it is over
	default:
		c.askAny(ctx, t, providers)
	}
}

// maxAsked is how many nodes are asked for one call, where each says that it does not serve
// the procedure: anybody may store a record that names them.
const maxAsked = 16

// askAny has a call answered by the first of some providers that can be asked, and by those
// behind it where that one does not serve the procedure.
func (c *Calls) askAny(ctx context.Context, t *task, providers []maculadht.Provider) {
	var why error
	for i := 0; i < len(providers) && t.asked < maxAsked; i++ {
		p := providers[i]
		if t.target != nil && !bytes.Equal(p.NodeID, t.target) {
			continue
		}
		t.others = providers[i+1:]
		taken, err := c.askProvider(ctx, t, p)
		if taken {
			return
		}
		if err != nil {
			t.asked++
			why = err
		}
	}
	switch {
	case t.refusal.Err != nil:
		c.finish(t, t.refusal)
	case why != nil:
		c.finish(t, outcome.Failed(wire.CodeNotRouted, "The node of the provider of %q can not be reached: %v", t.procedure, why))
	case t.target != nil:
		c.finish(t, outcome.Failed(wire.CodeNotRouted, "The node %x is neither connected here nor to a node that calls are passed on to", t.target))
	case len(providers) > 0:
		c.finish(t, outcome.Failed(wire.CodeNotRouted, "No provider of %q is at a node that calls are passed on to", t.procedure))
	default:
		c.finish(t, outcome.Failed(wire.ErrorProcedureNotFound, "Nobody serves the procedure %q", t.procedure))
	}
}

// answered takes what a provider has answered: it ends the call, unless it is that the
// provider does not serve the procedure and there are others to ask.
func (c *Calls) answered(t *task, o outcome.Outcome) {
	if !o.IsNotServed() || len(t.others) == 0 || !c.leaves(t) {
		c.finish(t, o)
		return
	}
	t.asked, t.refusal = t.asked+1, o
	if !c.spawn(func() {
		ctx, cancel := context.WithDeadline(c.ctx, t.until)
		defer cancel()
		if c.awaits(t, cancel) {
			c.askAny(ctx, t, t.others)
		}
	}) {
		c.finish(t, outcome.Of(outcome.Closing))
	}
}

// askProvider has a provider answer a call: as a client of this node, as a libp2p peer,
// or behind one of which it says that it is. It reports whether it was asked.
func (c *Calls) askProvider(ctx context.Context, t *task, p maculadht.Provider) (taken bool, why error) {
	if len(p.NodeID) == 0 || bytes.Equal(p.NodeID, c.self) {
		return false, nil
	}
	if peer, registered := c.clientFor(t.procedure, p.NodeID); peer != nil {
		c.ask(t, peer, registered)
		return true, nil
	}
	at, ok := c.locator.Where(p)
	if !ok {
		return false, nil
	}
	why = c.links.ask(ctx, t, at, p.NodeID)
	return why == nil, why
}

// untilOf returns when a call is over that may take so many ms, as its sender says; 0
// for what is usual.
func (c *Calls) untilOf(ms int64) time.Time {
	d := c.cfg.limits.Time
	if ms > 0 {
		d = min(time.Duration(min(ms, int64(c.cfg.limits.MaxTime/time.Millisecond)))*time.Millisecond, c.cfg.limits.MaxTime)
	}
	return time.Now().Add(d)
}
