package maculadht

import (
	"context"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/publication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// DefaultServiceTTL is how long a copy of a service's record lives after it was last
// published.
const DefaultServiceTTL = provider.DefaultTTL

type (
	// Replicas is where a value was put; see [replication.Replicas].
	Replicas = replication.Replicas
	// Offer is a service that somebody can be asked for; see [provider.Offer].
	Offer = provider.Offer
	// Advertisement is a record that is published again and again until it is
	// withdrawn; see [publication.Advertisement].
	Advertisement = publication.Advertisement
	// AdvertisementStatus is an advertisement as it stands; see [publication.Status].
	AdvertisementStatus = publication.Status
)

// Replicate puts a value on the nodes nearest to its key; see
// [replication.Replicate].
func Replicate(ctx context.Context, server *routing.Server, l *lookup.Lookups, n routing.Network, key []byte, value values.Value) (*Replicas, error) {
	return replication.Replicate(ctx, server, l, n, replication.Copy{Key: key, Value: value})
}

// Store keeps a value here and on the nodes nearest to its key; see Replicate. One
// does not need the other: where nobody else has it, it is kept here all the same and
// the error says so; where it can not be kept here the others have it, and the error
// is ErrNotKept.
func (s *Service) Store(ctx context.Context, key []byte, value wire.Raw) (*Replicas, error) {
	return s.publisher.Store(ctx, key, value)
}

// Advertise keeps a value alive here and on the nodes nearest to its key, until it
// is withdrawn or the service is closed; ctx bounds no more than this call. It is
// stored as by Store, and stored again when 80 % of its ttl are over, or a little
// earlier so that not all nodes do so at once. What failed, be it here or there, is
// tried again after a second, and then ever less often.
//
// The value is kept here when Advertise returns, unless the store fails, which is
// logged. With a state (WithState) the advertisement is in it by then, and goes on by
// itself after a restart, be it a crash; where the state fails the error is ErrNotSaved,
// and the advertisement is returned and goes on all the same, and is saved as soon as
// that works. The rest happens in the background, see Published.
//
// A value that can not be stored is an ErrInvalidRequest. One that is advertised already
// is shared, and lives until the last has withdrawn it; where another value of the same
// provider (its node_id) is, the error is ErrAdvertised. One that goes on from before a
// restart is taken over by whoever advertises it first, and gives way to another value.
func (s *Service) Advertise(ctx context.Context, key []byte, value wire.Raw) (*Advertisement, error) {
	return s.publisher.Advertise(ctx, key, value)
}

// AdvertiseService tells the network that this node offers a service, or knows
// who does; see Advertise. The record has the fields that Erlang nodes write and
// read: node_id, endpoint, metadata and ttl. As its node_id is this node's, other
// libp2p peers let nobody else replace it. Libp2p peers are told the node's addresses
// too, as they are at each publication.
//
// A node offers a service at one endpoint: where the program advertises it at another,
// or with other metadata, already, the error is ErrAdvertised.
func (s *Service) AdvertiseService(ctx context.Context, o Offer) (*Advertisement, error) {
	return s.publisher.AdvertiseService(ctx, o)
}

// AdvertiseSubscription tells the network that this node has subscribed to a topic, until
// it is withdrawn or the service is closed, in the way of Advertise: Erlang gateways are
// told its endpoint, libp2p peers its addresses too. It does not go on after a restart.
// What is published is for package pubsub to send and to take.
func (s *Service) AdvertiseSubscription(ctx context.Context, topic string) (*Advertisement, error) {
	return s.publisher.AdvertiseSubscription(ctx, topic)
}

// Advertisements returns all that this node advertises, those first that were first
// advertised, with those that go on from before a restart. Each can be withdrawn.
func (s *Service) Advertisements() []AdvertisementStatus { return s.publisher.Advertisements() }
