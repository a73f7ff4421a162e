package dht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// HandleStore forwards the value to the routing server. It has no reply, ever:
// what can not be stored is dropped and counted.
func (h *Handlers) HandleStore(ctx context.Context, m *wire.Store, from Origin, d server.Dialect) {
	if err := h.store(ctx, m.Key, m.Value, 0, false, from, d); err != nil {
		h.count.dropped.Add(1)
	}
}

// errGatewayKey: what is stored under the key of a gateway comes from that gateway
// alone, over ALPN macula. From others it would be spread, and handed on.
var errGatewayKey = fmt.Errorf("a key that begins with %s is for gateways that register themselves", wire.GatewayPrefix)

// store validates a value and keeps a copy of it, synced to the disk before it returns
// or soon.
func (h *Handlers) store(ctx context.Context, key []byte, value wire.Raw, expiresIn time.Duration, synced bool, from Origin, d server.Dialect) error {
	if len(value) > wire.MaxValue {
		return fmt.Errorf("%w: %d bytes, limit %d", wire.ErrBadValue, len(value), wire.MaxValue)
	}
	if !d.GatewayKeys && wire.IsGatewayKey(key) {
		return errGatewayKey
	}
	if d.TextsAsBin {
		rewritten, err := wire.TextsAsBin(value)
		if err != nil {
			return fmt.Errorf("%w: %w", wire.ErrBadValue, err)
		}
		value = rewritten
	}
	v, err := wire.ParseValue(bytes.Clone(value)) // the message's memory is the stream's
	if err != nil {
		return err
	}
	var proven []byte
	if !from.Node.IsZero() {
		proven = from.Node[:]
	}
	put := records.Put{
		Key:       bytes.Clone(key),
		Value:     v.Raw,
		NodeID:    v.NodeID,
		TTL:       v.TTL,
		ExpiresIn: expiresIn,
		Direct:    d.Proxied,
		Synced:    synced,
		From:      proven,
		Source:    from.Source,
	}
	if err := h.routes.Records().Store(ctx, put); err != nil {
		return err
	}
	h.count.stored.Add(1)
	if d.Proxied && h.cfg.adopter != nil {
		h.cfg.adopter.Adopt(put)
	}
	return nil
}

func (h *Handlers) serveStore(a *asker, f wire.Frame) error {
	var m wire.Store
	field, err := broken(m.Decode(f.Payload))
	switch {
	case err != nil:
		return err
	case field != nil:
		h.count.dropped.Add(1)
	default:
		h.HandleStore(a.Context(), &m, a.from, *a.dialect)
	}
	return nil
}

func (h *Handlers) callStore(a *asker, raw wire.Raw) *wire.CallError {
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
	if err := h.store(a.Context(), args.Key, args.Value, expiresIn, true, a.from, *a.dialect); err != nil {
		h.count.dropped.Add(1)
		return storeError(err)
	}
	return nil
}

// storeError says to a caller of _dht.store why its value was not kept.
func storeError(err error) *wire.CallError {
	switch {
	case errors.Is(err, records.ErrNotOwner):
		return &wire.CallError{Code: wire.CodeNotOwner, Message: "The record is its provider's; only that peer replaces it before it expires"}
	case errors.Is(err, errGatewayKey):
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: key: " + err.Error()}
	case errors.Is(err, records.ErrSourceBudget), errors.Is(err, records.ErrGroupBudget), errors.Is(err, records.ErrStoreFull):
		return &wire.CallError{Code: wire.CodeBusy, Message: "No room left: " + err.Error()}
	default:
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: value: " + err.Error()}
	}
}
