package maculadht

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// Replicas is where a value was put; see [replication.Replicas].
type Replicas = replication.Replicas

// Replicate puts a value on the nodes nearest to its key; see
// [replication.Replicate].
func Replicate(ctx context.Context, server *routing.Server, l *lookup.Lookups, n routing.Network, key []byte, value wire.Value) (*Replicas, error) {
	return replication.Replicate(ctx, server, l, n, replication.Copy{Key: key, Value: value})
}

// ErrNotKept: this node's own store did not take a value; with it is why.
var ErrNotKept = errors.New("not kept on this node")

// Store keeps a value here and on the nodes nearest to its key; see Replicate. One
// does not need the other: where nobody else has it, it is kept here all the same and
// the error says so; where it can not be kept here the others have it, and the error
// is ErrNotKept.
func (s *Service) Store(ctx context.Context, key []byte, raw wire.Raw) (*Replicas, error) {
	value, err := checkValue(key, raw)
	if err != nil {
		return nil, err
	}
	err = s.keep(ctx, key, value)
	if isFinal(err) {
		return nil, err
	}
	replicas, elsewhere := Replicate(ctx, s.routing, s.lookups, s.network, key, value)
	return replicas, errors.Join(err, elsewhere)
}

// checkValue returns a value as it is stored, if it can be.
func checkValue(key []byte, raw wire.Raw) (wire.Value, error) {
	if key == nil || len(key) > wire.MaxField {
		return wire.Value{}, fmt.Errorf("%w: key of %d bytes, want one of at most %d", proto.ErrInvalidRequest, len(key), wire.MaxField)
	}
	texts, err := wire.TextsAsBin(raw)
	if err != nil {
		return wire.Value{}, fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	value, err := wire.ParseValue(bytes.Clone(texts))
	if err != nil {
		return wire.Value{}, fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	return value, nil
}

// keep stores a value of this node's own here.
func (s *Service) keep(ctx context.Context, key []byte, value wire.Value) error {
	if s.ctx.Err() != nil {
		return proto.ErrClosed
	}
	err := s.routing.Records().Store(ctx, records.Put{
		Key:    bytes.Clone(key),
		Value:  value.Raw,
		NodeID: value.NodeID,
		TTL:    value.TTL,
		Synced: true,
		From:   s.nodeID(),
	})
	if err != nil && !isFinal(err) {
		return fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return err
}

// isFinal reports whether a value that was not kept would not be the next time, nor
// by others.
func isFinal(err error) bool {
	for _, final := range []error{records.ErrNotOwner, wire.ErrBadValue, proto.ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}
