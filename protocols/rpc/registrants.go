package rpc

import (
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// registrationCost is what a procedure costs that a stream has registered, beside its
// name, in bytes.
const registrationCost = 512

// serveRegistration takes a REGISTER_PROCEDURE: whoever CONNECTed on the stream is
// called by CALL on it from now on. It answers nothing. What is over a limit is not
// registered.
func (c *Calls) serveRegistration(p *server.Peer, f framing.Frame) error {
	var m wire.RegisterProcedure
	field, err := payload.Broken(m.Decode(f.Payload))
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
	c.mu.Lock()
	known := c.providerOf(p)
	c.mu.Unlock()
	if !known {
		p.OnEnd(func() { c.providerEnded(p) })
	}
	if !c.registry.Add(p, m.Procedure, func() (end func()) {
		told, _ := c.adverts.Want(m.Procedure, p.Session().Payer())
		return func() {
			c.adverts.Unwant(told)
			p.LetGo(cost)
		}
	}) {
		p.LetGo(cost)
	}
	return nil
}
