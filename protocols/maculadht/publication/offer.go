package publication

import (
	"cmp"
	"context"
	"fmt"

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
	return subject{key: key, base: base, offer: &o, now: func() replication.Copy {
		now := o
		now.Endpoint = cmp.Or(o.Endpoint, p.cfg.Node.EndpointFor(p.reached()))
		c := replication.Copy{Key: key, Value: base, ForErlang: now.Record(self[:], nil)}
		value, err := Check(key, now.Record(self[:], p.recordAddrs()))
		if err == nil { // else it is too long with them
			c.Value = value
		}
		return c
	}}, nil
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
