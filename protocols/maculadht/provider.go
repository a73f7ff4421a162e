package maculadht

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

const (
	// DefaultServiceTTL is how long a copy of a service's record lives after it
	// was last published: 300 s, as Erlang nodes have it (docs/WIRE.md).
	DefaultServiceTTL = 300 * time.Second

	maxRecordAddrs = 4 // that a service's record names: readers get many records in one reply
)

// ServiceKey returns the key of a service: the SHA-256 of its name.
func ServiceKey(name string) []byte { return nameKey(name) }

// TopicKey returns the key of a topic: the SHA-256 of its name.
func TopicKey(name string) []byte { return nameKey(name) }

func nameKey(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

// Provider is who offers a service, or has subscribed to a topic.
type Provider struct {
	// NodeID names it: 32 bytes for a node of ours, 64 hexadecimal digits, as
	// text, for an Erlang node. Nil where the value names none.
	NodeID []byte
	// Endpoint is where it is reached, such as "https://host:port"; it is as the
	// provider wrote it, be it empty.
	Endpoint string
	// Metadata is what the provider tells of the service, a map; nil for nothing.
	Metadata wire.Raw
	// Peer is the provider as libp2p reaches it, for host.Connect: empty where the record
	// has no addresses, or those of another than NodeID.
	Peer peer.AddrInfo
	// Expires is when the record's life ends unless it is published again.
	Expires time.Time
	// Value is the whole record.
	Value wire.Raw
}

// Offer is a service that somebody can be asked for.
type Offer struct {
	Name string // of the service; ServiceKey makes the key of it
	// Endpoint is where it is, such as "https://host:port". Empty is for a service
	// that libp2p peers alone can call, at this node: the record has the node's own
	// endpoint then, or an empty one.
	Endpoint string
	// Metadata is what else is told of it, a map; nil for an empty one.
	Metadata wire.Raw
	// TTL is how long a copy of the record lives after it was last published, whole
	// seconds of 1 to wire.MaxTTL; 0 means DefaultServiceTTL.
	TTL time.Duration
}

func (o Offer) check() error {
	switch {
	case o.Name == "":
		return fmt.Errorf("%w: a service without a name", proto.ErrInvalidRequest)
	case o.Metadata.Kind() != wire.Map:
		return fmt.Errorf("%w: metadata of service %q is a %s, want a map", proto.ErrInvalidRequest, o.Name, o.Metadata.Kind())
	case o.TTL < time.Second || o.TTL > wire.MaxTTL || o.TTL%time.Second != 0:
		return fmt.Errorf("%w: ttl %v of service %q, want whole seconds from 1s to %v", proto.ErrInvalidRequest, o.TTL, o.Name, wire.MaxTTL)
	}
	return nil
}

// AdvertiseService tells the network that this node offers a service, or knows
// who does; see Advertise. The record has the fields that Erlang nodes write and
// read: node_id, endpoint, metadata and ttl. As its node_id is this node's, other
// libp2p peers let nobody else replace it. Libp2p peers are told the node's addresses
// too, as they are at each publication.
//
// A node offers a service at one endpoint: where it is advertised at another, or with
// other metadata, the error is ErrAdvertised.
func (s *Service) AdvertiseService(ctx context.Context, o Offer) (*Advertisement, error) {
	o.TTL = cmp.Or(o.TTL, DefaultServiceTTL)
	if o.Metadata == nil {
		o.Metadata = wire.RawMap()
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Endpoint == "" && len(s.host.Addrs()) == 0 {
		return nil, fmt.Errorf("%w: service %q without an endpoint, at a node without addresses: nobody could call it", proto.ErrInvalidRequest, o.Name)
	}
	key := ServiceKey(o.Name)
	base, err := checkValue(key, s.record(o, o.Endpoint, nil))
	if err != nil {
		return nil, err
	}
	return s.advertise(ctx, key, base, func() replication.Copy {
		endpoint := cmp.Or(o.Endpoint, s.handlers.EndpointFor(s.reached()))
		c := replication.Copy{Key: key, Value: base, ForErlang: s.record(o, endpoint, nil)}
		value, err := checkValue(key, s.record(o, endpoint, s.recordAddrs()))
		if err == nil { // else it is too long with them
			c.Value = value
		}
		return c
	})
}

// record returns a service's record, with addresses where there are some.
func (s *Service) record(o Offer, endpoint string, addrs [][]byte) wire.Raw {
	pairs := []wire.Pair{
		{Key: "node_id", Value: wire.RawBytes(s.nodeID())},
		{Key: "endpoint", Value: wire.RawText(endpoint)},
		{Key: "metadata", Value: o.Metadata},
		{Key: "ttl", Value: wire.RawInt(int64(o.TTL / time.Second))},
	}
	if len(addrs) > 0 {
		list := make([]wire.Raw, len(addrs))
		for i, a := range addrs {
			list[i] = wire.RawBytes(a)
		}
		pairs = append(pairs, wire.Pair{Key: "addrs", Value: wire.RawArray(list...)})
	}
	return wire.RawMap(pairs...)
}

// reached returns from how far this node can be reached, as far as it knows: one
// on loopback alone from this machine, where its readers are then.
func (s *Service) reached() routing.Reach {
	reach := routing.ReachPublic
	for reach < routing.ReachLocal && len(s.handlers.AddrsFor(reach)) == 0 {
		reach++
	}
	return reach
}

// recordAddrs returns the addresses that a record names, with /p2p: those that lead
// here from the farthest.
func (s *Service) recordAddrs() [][]byte {
	within := s.handlers.AddrsFor(s.reached())
	if len(within) == 0 {
		return nil
	}
	return routing.EncodePeerAddrs(s.host.ID(), within[:min(len(within), maxRecordAddrs)])
}

// FindProviders finds who offers a service, those first whose records live
// longest. The error is records.ErrNotFound where nobody does, else as of FindValues.
func (s *Service) FindProviders(ctx context.Context, name string) ([]Provider, error) {
	return s.findProviders(ctx, ServiceKey(name))
}

// Subscribers finds who has subscribed to a topic; see FindProviders.
func (s *Service) Subscribers(ctx context.Context, topic string) ([]Provider, error) {
	return s.findProviders(ctx, TopicKey(topic))
}

// findProviders returns what was found with an error, too.
func (s *Service) findProviders(ctx context.Context, key []byte) ([]Provider, error) {
	found, err := s.FindValues(ctx, key)
	providers := make([]Provider, len(found.Values))
	for i, v := range found.Values {
		providers[i] = providerOf(v)
	}
	return providers, err
}

func providerOf(v lookup.FoundValue) Provider {
	p := Provider{NodeID: v.NodeID, Expires: v.Expires, Value: v.Raw}
	if endpoint, ok := v.Raw.Field("endpoint"); ok {
		text, _ := endpoint.Bytes()
		p.Endpoint = string(text)
	}
	if metadata, ok := v.Raw.Field("metadata"); ok && metadata.Kind() == wire.Map {
		p.Metadata = metadata
	}
	p.Peer = peerOf(v)
	return p
}

// peerOf returns the peer that a record's addrs name, if it is the record's provider.
func peerOf(v lookup.FoundValue) peer.AddrInfo {
	addrs, ok := v.Raw.Field("addrs")
	if !ok || addrs.Kind() != wire.Array {
		return peer.AddrInfo{}
	}
	var named wire.Node
	for a := range addrs.Elems() {
		if b, ok := a.Bytes(); ok && len(b) <= wire.MaxField && len(named.Addrs) < routing.MaxContactAddrs {
			named.Addrs = append(named.Addrs, b)
		}
	}
	info := routing.PeerOf(named)
	if info.ID == "" || !isNodeIDOf(info.ID, v.NodeID) {
		return peer.AddrInfo{}
	}
	return info
}
