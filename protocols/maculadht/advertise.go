package maculadht

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

const (
	// DefaultServiceTTL is how long a copy of a service's record lives after it
	// was last published: 300 s, as Erlang nodes have it (docs/WIRE.md).
	DefaultServiceTTL = 300 * time.Second

	firstRepublish = time.Second // after a publication that reached nobody, doubled each time
)

// ServiceKey returns the key of a service: the SHA-256 of its name.
func ServiceKey(name string) []byte { return nameKey(name) }

// TopicKey returns the key of a topic: the SHA-256 of its name.
func TopicKey(name string) []byte { return nameKey(name) }

func nameKey(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

// Advertisement is a record that is published again and again until it is
// withdrawn.
type Advertisement struct {
	stop      context.CancelFunc
	done      chan struct{}
	published chan struct{}

	mu   sync.Mutex
	last *Replicas
	err  error
}

// Advertise keeps a value alive here and on the nodes nearest to its key, until it
// is withdrawn or the service is closed; ctx bounds no more than this call. It is stored as by Store, and
// stored again when 80 % of its ttl are over, or a little earlier so that not all
// nodes do so at once. A publication that reached nobody is tried again after a
// second, and then ever less often.
//
// The value is kept here when Advertise returns; the rest happens in the
// background, see Published. A value that can not be stored is an
// ErrInvalidRequest.
func (s *Service) Advertise(ctx context.Context, key []byte, raw wire.Raw) (*Advertisement, error) {
	value, err := s.keep(ctx, key, raw)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(s.ctx)
	a := &Advertisement{stop: stop, done: make(chan struct{}), published: make(chan struct{})}
	err = s.spawn(func(context.Context) {
		defer close(a.done)
		defer stop()
		a.run(ctx, s, bytes.Clone(key), value)
	})
	if err != nil {
		stop()
		return nil, err
	}
	return a, nil
}

// Withdraw ends the advertisement: the record is not published any more, and is
// gone everywhere when its ttl is over. Withdrawing again does nothing.
func (a *Advertisement) Withdraw() {
	a.stop()
	<-a.done
}

// Published is closed once another node has the record.
func (a *Advertisement) Published() <-chan struct{} { return a.published }

// Last returns what the last publication came to, as Store does; both are nil
// until the first one is over.
func (a *Advertisement) Last() (*Replicas, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last, a.err
}

// run publishes until ctx ends.
func (a *Advertisement) run(ctx context.Context, s *Service, key []byte, value wire.Value) {
	reached := sync.OnceFunc(func() { close(a.published) })
	again := firstRepublish
	for {
		start := time.Now()
		replicas, err := s.Store(ctx, key, value.Raw)
		if ctx.Err() != nil {
			return
		}
		s.tracer.Published(acknowledged(replicas), err)
		a.mu.Lock()
		a.last, a.err = replicas, err
		a.mu.Unlock()
		wait := republishAfter(value.TTL)
		if errors.Is(err, ErrNoReplicas) {
			wait = min(wait, again)
			again = 2 * wait // not of itself, which would grow out of an int64
		} else {
			again = firstRepublish
		}
		if err == nil {
			reached()
		}
		select {
		case <-time.After(time.Until(start.Add(wait))):
		case <-ctx.Done():
			return
		}
	}
}

func acknowledged(r *Replicas) int {
	if r == nil {
		return 0
	}
	return len(r.Acknowledged)
}

// republishAfter returns when to publish a value again: at 80 % of its life, or up
// to a tenth of that earlier.
func republishAfter(ttl time.Duration) time.Duration {
	after := ttl * 8 / 10
	return after - rand.N(after/10)
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
	// Expires is when the record's life ends unless it is published again.
	Expires time.Time
	// Value is the whole record.
	Value wire.Raw
}

// Offer is a service that somebody can be asked for.
type Offer struct {
	Name     string // of the service; ServiceKey makes the key of it
	Endpoint string // where it is, such as "https://host:port"
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
	case o.Endpoint == "":
		return fmt.Errorf("%w: service %q without an endpoint: nobody could call it", proto.ErrInvalidRequest, o.Name)
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
// libp2p peers let nobody else replace it.
func (s *Service) AdvertiseService(ctx context.Context, o Offer) (*Advertisement, error) {
	o.TTL = cmp.Or(o.TTL, DefaultServiceTTL)
	if o.Metadata == nil {
		o.Metadata = wire.RawMap()
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return s.Advertise(ctx, ServiceKey(o.Name), wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(s.nodeID())},
		wire.Pair{Key: "endpoint", Value: wire.RawText(o.Endpoint)},
		wire.Pair{Key: "metadata", Value: o.Metadata},
		wire.Pair{Key: "ttl", Value: wire.RawInt(int64(o.TTL / time.Second))},
	))
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
	return p
}
