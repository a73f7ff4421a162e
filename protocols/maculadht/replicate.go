package maculadht

import (
	"bytes"
	"context"
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

// Store keeps a value here and on the nodes nearest to its key; see Replicate.
// Where nobody else has it, it is kept here all the same and the error says so.
func (s *Service) Store(ctx context.Context, key []byte, raw wire.Raw) (*Replicas, error) {
	value, err := s.keep(ctx, key, raw)
	if err != nil {
		return nil, err
	}
	return Replicate(ctx, s.routing, s.lookups, s.network, key, value)
}

// keep stores a value of this node's own here, and returns it as it is stored.
func (s *Service) keep(ctx context.Context, key []byte, raw wire.Raw) (wire.Value, error) {
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
	return value, s.routing.Records().Store(ctx, records.Put{
		Key:    bytes.Clone(key),
		Value:  value.Raw,
		NodeID: value.NodeID,
		TTL:    value.TTL,
		From:   s.nodeID(),
	})
}
