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
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// HandleStore forwards the value to the routing server. It has no reply, ever:
// what can not be stored is dropped and counted.
func (h *Handlers) HandleStore(ctx context.Context, m *wire.Store, from Origin, d server.Dialect) {
	if err := h.store(ctx, m.Key, m.Value, 0, from, d); err != nil {
		h.count.dropped.Add(1)
	}
}

// errGatewayKey: what is stored under the key of a gateway comes from that gateway
// alone, over ALPN macula. From others it would be spread, and handed on.
var errGatewayKey = fmt.Errorf("a key that begins with %s is for gateways that register themselves", wire.GatewayPrefix)

// store validates a value and keeps a copy of it.
func (h *Handlers) store(ctx context.Context, key []byte, value wire.Raw, expiresIn time.Duration, from Origin, d server.Dialect) error {
	put, err := newPut(key, value, expiresIn, from, &d)
	if err != nil {
		return err
	}
	if err := h.routes.Records().Store(ctx, put); err != nil {
		return err
	}
	h.stored(put)
	return nil
}

// newPut validates a value, and returns what is to be kept of it: a copy, as the
// message's memory is the stream's.
func newPut(key []byte, value wire.Raw, expiresIn time.Duration, from Origin, d *server.Dialect) (records.Put, error) {
	if len(value) > values.MaxSize {
		return records.Put{}, fmt.Errorf("%w: %d bytes, limit %d", values.ErrBad, len(value), values.MaxSize)
	}
	if !d.GatewayKeys && wire.IsGatewayKey(key) {
		return records.Put{}, errGatewayKey
	}
	if d.TextsAsBin {
		rewritten, err := wire.TextsAsBin(value)
		if err != nil {
			return records.Put{}, fmt.Errorf("%w: %w", values.ErrBad, err)
		}
		value = rewritten
	}
	v, err := values.Parse(bytes.Clone(value))
	if err != nil {
		return records.Put{}, err
	}
	put := records.Put{
		Key:       bytes.Clone(key),
		Value:     v.Raw,
		NodeID:    v.NodeID,
		TTL:       v.TTL,
		ExpiresIn: expiresIn,
		Direct:    d.Proxied,
		Source:    from.Source,
	}
	if !from.Node.IsZero() {
		put.From = from.Node[:]
	}
	return put, nil
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
		put, err = newPut(m.Key, m.Value, 0, a.from, a.dialect)
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
	if err := ack.outcome(); !errors.Is(err, errUnsettled) {
		return a.Reply(storeReply(id, err))
	}
	slot, err := a.Defer(h.mux.Limits().SlotTime, storeReply(id, errUnsettled))
	switch {
	case errors.Is(err, server.ErrBusy):
		if err := a.settle(); err != nil {
			return err
		}
		return a.Reply(storeReply(id, ack.outcome()))
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
	put, err := newPut(args.Key, args.Value, expiresIn, a.from, a.dialect)
	if err != nil {
		h.count.dropped.Add(1)
		return put, storeError(err)
	}
	return put, nil
}

var storeOK = wire.RawMap(wire.Pair{Key: "status", Value: wire.RawText(wire.StatusOK)})

// storeReply answers a call that stores with what came of it.
func storeReply(callID []byte, err error) *wire.Reply {
	if err != nil {
		return &wire.Reply{CallID: callID, Error: storeError(err)}
	}
	return &wire.Reply{CallID: callID, Result: storeOK}
}

// storeError says to a caller of _dht.store why its value was not kept.
func storeError(err error) *wire.CallError {
	switch {
	case errors.Is(err, records.ErrNotOwner):
		return &wire.CallError{Code: wire.CodeNotOwner, Message: "The record is its provider's; only that peer replaces it before it expires"}
	case errors.Is(err, records.ErrKeyFull):
		return &wire.CallError{Code: wire.CodeKeyFull, Message: fmt.Sprintf("The key has as many providers as may be (%d), or as one source or IP group may have, and none of them gives way to this one", records.MaxProviders)}
	case errors.Is(err, errGatewayKey):
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: key: " + err.Error()}
	case errors.Is(err, records.ErrFar):
		return &wire.CallError{Code: wire.CodeBusy, Message: "No room for what others should keep: the key is far from this node"}
	case errors.Is(err, records.ErrSourceBudget), errors.Is(err, records.ErrGroupBudget), errors.Is(err, records.ErrStoreFull):
		return &wire.CallError{Code: wire.CodeBusy, Message: "No room left: " + err.Error()}
	case errors.Is(err, errUnsettled):
		return &wire.CallError{Code: wire.CodeStoreFailed, Message: "The store takes too long; the value may be kept all the same"}
	case errors.Is(err, records.ErrStoreFailed), errors.Is(err, context.Canceled):
		return &wire.CallError{Code: wire.CodeStoreFailed, Message: "This node can not store at the moment"} // its operator is told why
	case errors.Is(err, context.DeadlineExceeded):
		return &wire.CallError{Code: wire.CodeBusy, Message: "The store has too much to do, ask more slowly"}
	default:
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: value: " + err.Error()}
	}
}
