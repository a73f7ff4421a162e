package publication

import (
	"cmp"
	"context"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// maxRecordAddrs is how many addresses a service's record names: readers get many
// records in one reply.
const maxRecordAddrs = 4

// AdvertiseService keeps alive the record of a service that this node offers, or
// knows who does; see Advertise. As its node_id is this node's, other libp2p peers let
// nobody else replace it. They are told the node's addresses too, as they are at each
// publication.
func (p *Publisher) AdvertiseService(ctx context.Context, o provider.Offer) (*Advertisement, error) {
	o, err := o.Check()
	if err != nil {
		return nil, err
	}
	if o.Endpoint == "" && len(p.cfg.Node.AddrsFor(addressing.ReachLocal)) == 0 {
		return nil, fmt.Errorf("%w: service %q without an endpoint, at a node without addresses: nobody could call it", proto.ErrInvalidRequest, o.Name)
	}
	s, err := p.subjectOfOffer(o)
	if err != nil {
		return nil, err
	}
	return p.advertise(ctx, s)
}

// subjectOfOffer returns what is published of an offer.
func (p *Publisher) subjectOfOffer(o provider.Offer) (subject, error) {
	key := provider.Key(o.Name)
	self := p.cfg.Routing.Self()
	base, err := Check(key, o.Record(self[:], nil))
	if err != nil {
		return subject{}, err
	}
	return subject{key: key, base: base, offer: &o, brief: o.Brief, now: func() replication.Copy {
		now := o
		now.Endpoint = cmp.Or(o.Endpoint, p.cfg.Node.EndpointFor(p.reached()))
		return p.copyOf(key, base, func(addrs [][]byte) wire.Raw { return now.Record(self[:], addrs) })
	}}, nil
}

// AdvertiseSubscription keeps alive the record by which this node has subscribed to a
// topic, be it for others: of its endpoint, for Erlang gateways, and of its addresses, for
// libp2p peers, as they are at each publication. It does not go on after a restart. Where
// a service of that name is advertised the error is ErrAdvertised; see Advertise.
func (p *Publisher) AdvertiseSubscription(ctx context.Context, topic string) (*Advertisement, error) {
	key := provider.Key(topic)
	self := p.cfg.Routing.Self()
	base, err := Check(key, provider.Subscription(self[:], "", nil))
	if err != nil {
		return nil, err
	}
	return p.advertise(ctx, subject{key: key, base: base, brief: true, now: func() replication.Copy {
		endpoint := p.cfg.Node.EndpointFor(p.reached())
		return p.copyOf(key, base, func(addrs [][]byte) wire.Raw { return provider.Subscription(self[:], endpoint, addrs) })
	}})
}

// copyOf returns a record as it is put: for Erlang nodes without addresses.
func (p *Publisher) copyOf(key []byte, base values.Value, record func(addrs [][]byte) wire.Raw) replication.Copy {
	c := replication.Copy{Key: key, Value: base, ForErlang: record(nil)}
	value, err := Check(key, record(p.recordAddrs()))
	if err == nil { // else it is too long with them
		c.Value = value
	}
	return c
}

// reached returns from how far this node can be reached, as far as it knows: one
// on loopback alone from this machine, where its readers are then.
func (p *Publisher) reached() addressing.Reach {
	reach := addressing.ReachPublic
	for reach < addressing.ReachLocal && len(p.cfg.Node.AddrsFor(reach)) == 0 {
		reach++
	}
	return reach
}

// recordAddrs returns the addresses that a record names, with /p2p: those that lead
// here from the farthest.
func (p *Publisher) recordAddrs() [][]byte {
	within := p.cfg.Node.AddrsFor(p.reached())
	if len(within) == 0 {
		return nil
	}
	return addressing.EncodePeerAddrs(p.cfg.Peer, within[:min(len(within), maxRecordAddrs)])
}
