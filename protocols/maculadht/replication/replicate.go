package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// replicasAtOnce is how many nodes are written to at a time.
const replicasAtOnce = 8

// ErrNoReplicas: nobody was found, or would take the value.
var ErrNoReplicas = errors.New("no other node has the value")

// Copy is what is put on other nodes.
type Copy struct {
	Key   []byte
	Value values.Value
	// Expires is when the record ends of which this is a copy, so that the copies
	// end then too; zero where the value is published anew, and lives for its ttl.
	Expires time.Time
	// Proof proves that the value is its NodeID's; nil where nothing does. With one, and
	// without a value, the copy is a tombstone: libp2p peers drop what they have of NodeID.
	Proof *records.Proof
	// Also holds libp2p contacts that get it beside those that a lookup finds.
	Also []routing.Contact
	// ForErlang is the value as Erlang contacts are sent it; nil for Value.
	ForErlang wire.Raw
	// PeersOnly keeps it from Erlang contacts.
	PeersOnly bool
}

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

// Replicate puts a value on the nodes nearest to its key, and on some farther ones where
// those lie too densely to be true: a lookup finds them (lookup.Lookups.NodesFor);
// libp2p peers are asked to keep it and answer, to the Erlang contacts of server
// among them it is only sent. Whoever gets it keeps it and does not pass it on.
//
// The error is [ErrNoReplicas] where nobody has it in the end, with what each of
// them said; the replicas tell what came of it either way. Nobody is asked to keep
// what is under a key of gateways (wire.GatewayPrefix): libp2p peers refuse it, and
// Erlang nodes do not survive it.
func Replicate(ctx context.Context, server *routing.Server, l *lookup.Lookups, n routing.Network, c Copy) (*Replicas, error) {
	r := &Replicas{Failed: make(map[routing.ID]error)}
	if wire.IsGatewayKey(c.Key) {
		r.Found = new(lookup.Found)
		return r, fmt.Errorf("%w: a key that begins with %s stays where its gateway registers", ErrNoReplicas, wire.GatewayPrefix)
	}
	var err error
	r.Found, err = l.NodesFor(ctx, c.Key)
	if err != nil && len(r.Found.Closest)+len(c.Also) == 0 && !errors.Is(err, lookup.ErrUnanswered) { // else Erlang nodes are left
		return r, fmt.Errorf("%w: %w", ErrNoReplicas, err)
	}
	holders := slices.Concat(r.Found.Closest, r.Found.Wider)
	for _, also := range c.Also {
		if !slices.ContainsFunc(holders, func(h routing.Contact) bool { return h.ID == also.ID }) {
			holders = append(holders, also)
		}
	}
	if !c.PeersOnly {
		holders = append(holders, erlangAmong(server, c.Key, r.Found.Closest)...)
	}
	var writes sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, replicasAtOnce)
	for _, to := range holders {
		slots <- struct{}{}
		writes.Go(func() {
			defer func() { <-slots }()
			err := c.putAt(ctx, n, to)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				r.Failed[to.ID] = err
			case to.IsErlang():
				r.Sent = append(r.Sent, to)
			default:
				r.Acknowledged = append(r.Acknowledged, to)
			}
		})
	}
	writes.Wait()
	if len(r.Acknowledged)+len(r.Sent) == 0 {
		errs := []error{ErrNoReplicas, err}
		for _, err := range r.Failed {
			errs = append(errs, err)
		}
		return r, errors.Join(errs...)
	}
	return r, nil
}

// errOver: the record has ended meanwhile.
var errOver = errors.New("less than a second is left of its life")

func (c *Copy) putAt(ctx context.Context, n routing.Network, to routing.Contact) error {
	if to.IsErlang() {
		value := c.Value.Raw
		if c.ForErlang != nil {
			value = c.ForErlang
		}
		return n.Send(ctx, to, &wire.Store{Key: c.Key, Value: value})
	}
	args := procedures.StoreArgs{Key: c.Key, Value: c.Value.Raw}
	if c.Proof != nil {
		args.Proof = c.Proof.Envelope
	}
	if !c.Expires.IsZero() {
		left := time.Until(c.Expires)
		switch {
		case left > c.Value.TTL-time.Second: // it is as good as new, and its ttl says all
		case left < time.Second:
			return errOver
		default:
			args.ExpiresIn = wire.Some(int64(left / time.Second))
		}
	}
	return client.Put(ctx, n, to, args)
}

// erlangAmong returns our Erlang contacts that are among the nearest to a key,
// which lookups do not find.
func erlangAmong(server *routing.Server, key []byte, closest []routing.Contact) []routing.Contact {
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
