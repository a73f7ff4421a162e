package rpc

import (
	"slices"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// registrationCost is what a procedure costs that a stream has registered, beside its
// name, in bytes.
const registrationCost = 512

// serveRegistration takes a REGISTER_PROCEDURE: whoever CONNECTed on the stream is
// called by CALL on it from now on. It answers nothing. What is over a limit is not
// registered.
func (c *Calls) serveRegistration(p *server.Peer, f framing.Frame) error {
	var m wire.RegisterProcedure
	field, err := broken(m.Decode(f.Payload))
	if err != nil {
		return err
	}
	if field != nil || !p.Connected() || p.Session().Dialect.Extended || wire.IsDHTProcedure(m.Procedure) {
		return nil
	}
	cost := registrationCost + len(m.Procedure)
	if !p.Hold(cost) {
		return nil
	}
	isNew, isFirst, known := c.register(p, m.Procedure)
	if !isNew {
		p.LetGo(cost)
	}
	if !known {
		p.OnEnd(func() { c.providerEnded(p) })
	}
	if isFirst {
		c.adverts.Add(m.Procedure)
	}
	return nil
}

// register notes that a stream serves a procedure. isFirst says that no other does, known
// whether the end of the stream is told already.
func (c *Calls) register(p *server.Peer, procedure string) (isNew, isFirst, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.registered[procedure], p) {
		return false, false, true
	}
	total := 0
	for _, other := range c.providers {
		total += len(other.procedures)
	}
	if of := c.providers[p]; total >= c.cfg.limits.Registered || of != nil && len(of.procedures) >= c.cfg.limits.Procedures {
		return false, false, true
	}
	known = c.providerOf(p)
	of := c.providers[p]
	of.procedures = append(of.procedures, procedure)
	isFirst = len(c.registered[procedure]) == 0
	c.registered[procedure] = append(c.registered[procedure], p)
	return true, isFirst, known
}

// unregister takes a stream from those that serve a procedure, and reports whether it
// was the last. c.mu is held.
func (c *Calls) unregister(procedure string, p *server.Peer) bool {
	left := slices.DeleteFunc(c.registered[procedure], func(o *server.Peer) bool { return o == p })
	if len(left) > 0 {
		c.registered[procedure] = left
		return false
	}
	delete(c.registered, procedure)
	return true
}
