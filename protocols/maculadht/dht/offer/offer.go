// Package offer has what may be stored of what others send: it checks values and proofs,
// and says why one is not kept.
package offer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/signed"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// ErrGatewayKey: what is stored under the key of a gateway comes from that gateway
// alone, over ALPN macula. From others it would be spread, and handed on.
var ErrGatewayKey = fmt.Errorf("a key that begins with %s is for gateways that register themselves", wire.GatewayPrefix)

// ErrUnsettled: it is not known yet whether a value is kept.
var ErrUnsettled = errors.New("the store has not kept it yet")

// Offer is what somebody has sent to be stored.
type Offer struct {
	Key       []byte
	Value     wire.Raw      // none for a tombstone
	Proof     []byte        // of the libp2p dialect alone; none where it proves nothing
	ExpiresIn time.Duration // the life left to a copy; 0 for an original

	From   routing.ID     // the node id of the libp2p peer that sent it; zero where nothing proves who did
	Source records.Source // whose storage budget pays
}

// Put validates a value, and returns what is to be kept of it: a copy, as the
// message's memory is the stream's. Errors are values.ErrBad, ErrGatewayKey, and those of
// the verifier.
func (o Offer) Put(d *server.Dialect, verifier *signed.Verifier) (records.Put, error) {
	if len(o.Value) > values.MaxSize {
		return records.Put{}, fmt.Errorf("%w: %d bytes, limit %d", values.ErrBad, len(o.Value), values.MaxSize)
	}
	if !d.GatewayKeys && wire.IsGatewayKey(o.Key) {
		return records.Put{}, ErrGatewayKey
	}
	put := records.Put{
		Key:       bytes.Clone(o.Key),
		ExpiresIn: o.ExpiresIn,
		Direct:    d.Proxied,
		Source:    o.Source,
	}
	if !o.From.IsZero() {
		put.From = bytes.Clone(o.From[:])
	}
	if !d.Extended {
		o.Proof = nil
	}
	if len(o.Value) == 0 && len(o.Proof) > 0 {
		return withdraw(put, o.Proof, verifier)
	}
	if d.TextsAsBin {
		rewritten, err := wire.TextsAsBin(o.Value)
		if err != nil {
			return records.Put{}, fmt.Errorf("%w: %w", values.ErrBad, err)
		}
		o.Value = rewritten
	}
	v, err := values.Parse(bytes.Clone(o.Value))
	if err != nil {
		return records.Put{}, err
	}
	put.Value, put.NodeID, put.TTL = v.Raw, v.NodeID, v.TTL
	return prove(put, o.Proof, verifier)
}

// withdraw makes a put that of a tombstone, which its proof is.
func withdraw(put records.Put, proof []byte, verifier *signed.Verifier) (records.Put, error) {
	var err error
	if put.NodeID, put.Proof, err = verifier.VerifyTombstone(put.Key, proof); err != nil {
		return records.Put{}, err
	}
	return put, nil
}

// prove adds a proof to a put that was sent with one. A proof of another time proves
// nothing, as one of both clocks is wrong; a value with a forged one is not kept.
func prove(put records.Put, proof []byte, verifier *signed.Verifier) (records.Put, error) {
	if len(proof) == 0 {
		return put, nil
	}
	p, err := verifier.Verify(put.Key, put.Value, put.NodeID, proof)
	switch {
	case errors.Is(err, signed.ErrUntimely):
	case err != nil:
		return records.Put{}, err
	default:
		put.Proof = p
	}
	return put, nil
}

// Refusal says to a caller of _dht.store why its value was not kept.
func Refusal(err error) *wire.CallError {
	switch {
	case errors.Is(err, records.ErrNotOwner):
		return &wire.CallError{Code: wire.CodeNotOwner, Message: "The record is its provider's; only that peer, or a newer one that it has proved, replaces it before it expires"}
	case errors.Is(err, records.ErrSuperseded):
		return &wire.CallError{Code: wire.CodeSuperseded, Message: "A newer record of its provider is stored here, or that it has been withdrawn"}
	case errors.Is(err, signed.ErrForged), errors.Is(err, signed.ErrUntimely):
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: proof: " + err.Error()}
	case errors.Is(err, records.ErrKeyFull):
		return &wire.CallError{Code: wire.CodeKeyFull, Message: fmt.Sprintf("The key has as many providers as may be (%d), or as one source or IP group may have, and none of them gives way to this one", records.MaxProviders)}
	case errors.Is(err, ErrGatewayKey):
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: key: " + err.Error()}
	case errors.Is(err, records.ErrFar):
		return &wire.CallError{Code: wire.CodeBusy, Message: "No room for what others should keep: the key is far from this node"}
	case errors.Is(err, records.ErrSourceBudget), errors.Is(err, records.ErrGroupBudget), errors.Is(err, records.ErrStoreFull):
		return &wire.CallError{Code: wire.CodeBusy, Message: "No room left: " + err.Error()}
	case errors.Is(err, ErrUnsettled):
		return &wire.CallError{Code: wire.CodeStoreFailed, Message: "The store takes too long; the value may be kept all the same"}
	case errors.Is(err, records.ErrStoreFailed), errors.Is(err, context.Canceled):
		return &wire.CallError{Code: wire.CodeStoreFailed, Message: "This node can not store at the moment"} // its operator is told why
	case errors.Is(err, context.DeadlineExceeded):
		return &wire.CallError{Code: wire.CodeBusy, Message: "The store has too much to do, ask more slowly"}
	default:
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: value: " + err.Error()}
	}
}

var storeOK = wire.RawMap(wire.Pair{Key: "status", Value: wire.RawText(wire.StatusOK)})

// Reply answers a call that stores with what came of it.
func Reply(callID []byte, err error) *wire.Reply {
	if err != nil {
		return &wire.Reply{CallID: callID, Error: Refusal(err)}
	}
	return &wire.Reply{CallID: callID, Result: storeOK}
}
