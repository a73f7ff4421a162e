package dht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht/offer"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// HandleStore forwards the value to the routing server. It has no reply, ever:
// what can not be stored is dropped and counted.
func (h *Handlers) HandleStore(ctx context.Context, m *wire.Store, from Origin, d server.Dialect) {
	if err := h.store(ctx, offer.Offer{Key: m.Key, Value: m.Value, Proof: m.Proof}, from, d); err != nil {
		h.count.dropped.Add(1)
	}
}

// store validates a value and keeps a copy of it.
func (h *Handlers) store(ctx context.Context, o offer.Offer, from Origin, d server.Dialect) error {
	put, err := h.putOffered(o, from, &d)
	if err != nil {
		return err
	}
	if err := h.routes.Records().Store(ctx, put); err != nil {
		return err
	}
	h.stored(put)
	return nil
}

// putOffered returns what is to be kept of an offer.
func (h *Handlers) putOffered(o offer.Offer, from Origin, d *server.Dialect) (records.Put, error) {
	o.From, o.Source = from.Node, from.Source
	return o.Put(d, h.cfg.verifier)
}

// stored notes that a value has been kept.
func (h *Handlers) stored(put records.Put) {
	h.count.stored.Add(1)
	if put.Direct && h.cfg.adopter != nil {
		h.cfg.adopter.Adopt(put)
	}
}

// serveStore waits until the value is kept, as what is asked behind it on the stream
// sees it.
func (h *Handlers) serveStore(a *asker, f framing.Frame) error {
	var m wire.Store
	field, err := broken(m.Decode(f.Payload))
	if err != nil {
		return err
	}
	var put records.Put
	if field == nil {
		if len(m.Proof) > 0 && !a.Charge(proofCost) {
			err = server.OverBudget
		} else {
			put, err = h.putOffered(offer.Offer{Key: m.Key, Value: m.Value, Proof: m.Proof}, a.from, a.dialect)
		}
	}
	if field != nil || err != nil {
		h.count.dropped.Add(1)
		return nil
	}
	h.storeThen(a, put, func(error) {})
	return a.settle()
}

// callStore answers when the value survives whatever happens to the machine, and goes
// on with what is asked next meanwhile. Without a slot for that the stream waits.
func (h *Handlers) callStore(a *asker, m *wire.Call) error {
	id := orUndefined(m.CallID)
	put, refused := h.putOf(a, m.Args)
	if refused != nil {
		return a.Reply(&wire.Reply{CallID: id, Error: refused})
	}
	put.Synced = true
	var ack acknowledgement
	h.storeThen(a, put, ack.settle)
	if err := ack.outcome(); !errors.Is(err, offer.ErrUnsettled) {
		return a.Reply(offer.Reply(id, err))
	}
	slot, err := a.Defer(h.mux.Limits().SlotTime, offer.Reply(id, offer.ErrUnsettled))
	switch {
	case errors.Is(err, server.ErrBusy):
		if err := a.settle(); err != nil {
			return err
		}
		return a.Reply(offer.Reply(id, ack.outcome()))
	case err == nil:
		ack.answerBy(slot, bytes.Clone(id))
	}
	return err
}

// putOf returns what a call is to store, or why it may not.
func (h *Handlers) putOf(a *asker, raw wire.Raw) (records.Put, *wire.CallError) {
	var args procedures.StoreArgs
	err := args.Decode(raw)
	if field, fatal := broken(err); fatal != nil {
		return records.Put{}, &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: args: " + fatal.Error()}
	} else if field != nil {
		return records.Put{}, invalidArgs(field)
	}
	expiresIn := time.Duration(0)
	if left := args.ExpiresIn; left.Set {
		if left.V <= 0 {
			return records.Put{}, &wire.CallError{Code: wire.CodeInvalidArgs,
				Message: fmt.Sprintf("Invalid parameter: expires_in: %d is not a positive number of seconds", left.V)}
		}
		expiresIn = wire.Seconds(left.V)
	}
	if len(args.Proof) > 0 && !a.Charge(proofCost) {
		return records.Put{}, server.OverBudget
	}
	put, err := h.putOffered(offer.Offer{Key: args.Key, Value: args.Value, Proof: args.Proof, ExpiresIn: expiresIn}, a.from, a.dialect)
	if err != nil {
		h.count.dropped.Add(1)
		return put, offer.Refusal(err)
	}
	return put, nil
}

// proofCost is how many frames a proof counts as in the peer's budget, as it takes time to verify.
const proofCost = 10
