package provider

import (
	"cmp"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// DefaultTTL is how long a copy of a service's record lives after it was last
// published: 300 s, as Erlang nodes have it (docs/WIRE.md).
const DefaultTTL = 300 * time.Second

// Offer is a service that somebody can be asked for.
type Offer struct {
	Name string // of the service; Key makes the key of it
	// Endpoint is where it is, such as "https://host:port". Empty is for a service
	// that libp2p peers alone can call, at this node: the record has the node's own
	// endpoint then, or an empty one.
	Endpoint string
	// Metadata is what else is told of it, a map; nil for an empty one.
	Metadata wire.Raw
	// TTL is how long a copy of the record lives after it was last published, whole
	// seconds of 1 to values.MaxTTL; 0 means DefaultTTL.
	TTL time.Duration
	// Brief is for what ends with the process: it does not go on after a restart.
	Brief bool
}

// Check returns the offer with what it leaves to defaults. One that can not be made is
// a [proto.ErrInvalidRequest].
func (o Offer) Check() (Offer, error) {
	o.TTL = cmp.Or(o.TTL, DefaultTTL)
	if o.Metadata == nil {
		o.Metadata = wire.RawMap()
	}
	switch {
	case o.Name == "":
		return o, fmt.Errorf("%w: a service without a name", proto.ErrInvalidRequest)
	case o.Metadata.Kind() != wire.Map:
		return o, fmt.Errorf("%w: metadata of service %q is a %s, want a map", proto.ErrInvalidRequest, o.Name, o.Metadata.Kind())
	case o.TTL < time.Second || o.TTL > values.MaxTTL || o.TTL%time.Second != 0:
		return o, fmt.Errorf("%w: ttl %v of service %q, want whole seconds from 1s to %v", proto.ErrInvalidRequest, o.TTL, o.Name, values.MaxTTL)
	}
	return o, nil
}

// Record returns a service's record, as Erlang nodes write and read it: of the node
// that offers it, with addresses (multiaddrs with /p2p, in bytes) where there are some.
func (o Offer) Record(nodeID []byte, addrs [][]byte) wire.Raw {
	return record(nodeID, o.Endpoint, o.TTL, addrs, wire.Pair{Key: "metadata", Value: o.Metadata})
}

// SubscriptionTTL is how long a copy of a subscription's record lives after it was last
// published: 300 s, as Erlang nodes have it.
const SubscriptionTTL = 300 * time.Second

// Subscription returns the record by which a node has subscribed to a topic, as Erlang
// gateways write and read it: with its endpoint, be it empty, and with addresses
// (multiaddrs with /p2p, in bytes) where there are some.
func Subscription(nodeID []byte, endpoint string, addrs [][]byte) wire.Raw {
	return record(nodeID, endpoint, SubscriptionTTL, addrs)
}

func record(nodeID []byte, endpoint string, ttl time.Duration, addrs [][]byte, more ...wire.Pair) wire.Raw {
	pairs := append([]wire.Pair{
		{Key: "node_id", Value: wire.RawBytes(nodeID)},
		{Key: "endpoint", Value: wire.RawText(endpoint)},
	}, more...)
	pairs = append(pairs, wire.Pair{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))})
	if len(addrs) > 0 {
		list := make([]wire.Raw, len(addrs))
		for i, a := range addrs {
			list[i] = wire.RawBytes(a)
		}
		pairs = append(pairs, wire.Pair{Key: "addrs", Value: wire.RawArray(list...)})
	}
	return wire.RawMap(pairs...)
}
