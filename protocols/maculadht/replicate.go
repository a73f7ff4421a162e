package maculadht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// replicasAtOnce is how many nodes are written to at a time.
const replicasAtOnce = 8

// Replicas is where a value was put.
type Replicas struct {
	// Acknowledged holds the libp2p peers that said that they keep it.
	Acknowledged []routing.Contact
	// Sent holds the Erlang nodes that it was sent to; they never answer.
	Sent []routing.Contact
	// Failed holds why others did not take it, by contact.
	Failed map[routing.ID]error
	// Found is the lookup by which the nodes were found.
	Found *lookup.Found
}

// ErrNoReplicas: nobody was found, or would take the value.
var ErrNoReplicas = errors.New("no other node has the value")

// Replicate puts a value on the nodes nearest to its key: a lookup finds them;
// libp2p peers are asked to keep it and answer, to the Erlang contacts among
// them it is only sent. Whoever gets it keeps it and does not pass it on.
//
// The error is ErrNoReplicas where nobody has it in the end, with what each of
// them said; the replicas tell what came of it either way.
func Replicate(ctx context.Context, server *routing.Server, l *lookup.Lookups, n routing.Network, key []byte, value wire.Value) (*Replicas, error) {
	r := &Replicas{Failed: make(map[routing.ID]error)}
	var err error
	if r.Found, err = l.Nodes(ctx, key); err != nil && len(r.Found.Closest) == 0 {
		return r, fmt.Errorf("%w: %w", ErrNoReplicas, err)
	}
	var writes sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, replicasAtOnce)
	for _, c := range append(r.Found.Closest, erlangAmong(server, key, r.Found.Closest)...) {
		slots <- struct{}{}
		writes.Go(func() {
			defer func() { <-slots }()
			err := putAt(ctx, n, c, key, value)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				r.Failed[c.ID] = err
			case c.IsErlang():
				r.Sent = append(r.Sent, c)
			default:
				r.Acknowledged = append(r.Acknowledged, c)
			}
		})
	}
	writes.Wait()
	if len(r.Acknowledged)+len(r.Sent) == 0 {
		errs := []error{ErrNoReplicas}
		for _, err := range r.Failed {
			errs = append(errs, err)
		}
		return r, errors.Join(errs...)
	}
	return r, nil
}

func putAt(ctx context.Context, n routing.Network, c routing.Contact, key []byte, value wire.Value) error {
	if c.IsErlang() {
		return n.Send(ctx, c, &wire.Store{Key: key, Value: value.Raw})
	}
	return client.Put(ctx, n, c, wire.StoreArgs{Key: key, Value: value.Raw})
}

// erlangAmong returns our Erlang contacts that are among the nearest to a key,
// which lookups do not find. A key that harms them goes to none.
func erlangAmong(server *routing.Server, key []byte, closest []routing.Contact) []routing.Contact {
	if bytes.HasPrefix(key, []byte(wire.GatewayPrefix)) {
		return nil
	}
	target := routing.IDFromBytes(key)
	var among []routing.Contact
	for _, c := range server.Nearest(target, routing.BucketSize) {
		full := len(closest) == routing.BucketSize
		if c.IsErlang() && (!full || target.Closer(c.ID, closest[len(closest)-1].ID)) {
			among = append(among, c)
		}
	}
	return among
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
