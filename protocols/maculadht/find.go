package maculadht

import (
	"context"
	"iter"

	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// Provider is who offers a service, or has subscribed to a topic; see
// [provider.Provider].
type Provider = provider.Provider

// ServiceKey returns the key of a service: the SHA-256 of its name.
func ServiceKey(name string) []byte { return provider.Key(name) }

// TopicKey returns the key of a topic: the SHA-256 of its name.
func TopicKey(name string) []byte { return provider.Key(name) }

// FindNodes finds the live contacts nearest to target, anywhere in the network. The
// error is ErrNoPeers, ErrUnanswered, ErrClosed, or that of ctx; see
// lookup.Lookups.Nodes.
func (s *Service) FindNodes(ctx context.Context, target []byte) (*lookup.Found, error) {
	return s.find(ctx, target, s.lookups.Nodes)
}

// FindValues finds the values stored under key, anywhere in the network. Where
// somebody answered and there is nothing the error is ErrNotFound, otherwise as of
// FindNodes; what was found comes with it. See lookup.Lookups.Values.
func (s *Service) FindValues(ctx context.Context, key []byte) (*lookup.Found, error) {
	return s.find(ctx, key, func(ctx context.Context, key []byte) (*lookup.Found, error) {
		return s.lookups.Search(ctx, s.searchOf(key))
	})
}

// Trace is FindValues that tells what it does: each question before it is sent, and each
// answer as it comes, in the goroutine that called. Either may be nil.
func (s *Service) Trace(ctx context.Context, key []byte, asked func(lookup.Asked), hop func(lookup.Hop)) (*lookup.Found, error) {
	return s.find(ctx, key, func(ctx context.Context, key []byte) (*lookup.Found, error) {
		how := s.searchOf(key)
		how.OnAsked, how.OnHop = asked, hop
		return s.lookups.Search(ctx, how)
	})
}

// NetworkSize returns about how many nodes the network has, by what the lookups of the last
// hour have seen, and whether that is known.
func (s *Service) NetworkSize() (nodes float64, known bool) { return s.lookups.Size() }

// FindPeerValues is FindValues that asks libp2p peers alone: what an Erlang node has
// caused must not have it asked in return, nor others like it, whom each miss holds up.
func (s *Service) FindPeerValues(ctx context.Context, key []byte) (*lookup.Found, error) {
	return s.find(ctx, key, func(ctx context.Context, key []byte) (*lookup.Found, error) {
		return s.lookups.Search(ctx, lookup.Search{Key: key, PeersOnly: true})
	})
}

// WithProvedProviders has FindProviders, Subscribers and their sequences return those
// alone whose records are proved: nodes of ours that have sealed them, and no Erlang nodes,
// which can not. Without it the others come after them, see Provider.Proved.
func WithProvedProviders() Option {
	return func(c *serviceConfig) error {
		c.proved = true
		return nil
	}
}

// providersOf is searchOf for providers.
func (s *Service) providersOf(key []byte) lookup.Search {
	how := s.searchOf(key)
	how.ProvedOnly = s.proved
	return how
}

// searchOf is a lookup of a key that the resolver is told of when libp2p contacts
// have nothing, before Erlang ones are asked, which ask back.
func (s *Service) searchOf(key []byte) lookup.Search {
	how := lookup.Search{Key: key}
	if s.resolver != nil {
		how.OnMissed = func(closest []routing.Contact) { s.resolver.Missed(key, closest) }
	}
	return how
}

// find runs a lookup that ends with the service.
func (s *Service) find(ctx context.Context, target []byte, look func(context.Context, []byte) (*lookup.Found, error)) (*lookup.Found, error) {
	if !s.begin() {
		return &lookup.Found{}, ErrClosed
	}
	defer s.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	found, err := look(ctx, target)
	if err != nil && s.ctx.Err() != nil {
		err = ErrClosed
	}
	return found, err
}

// FindProviders finds who offers a service, those first whose records are proved to be
// theirs (Provider.Proved), then those whose records live longest; of one node id never a
// record that is not proved where one is. The error is records.ErrNotFound where nobody does, else as of FindValues.
func (s *Service) FindProviders(ctx context.Context, name string) ([]Provider, error) {
	return s.findProviders(ctx, ServiceKey(name))
}

// Subscribers finds who has subscribed to a topic; see FindProviders.
func (s *Service) Subscribers(ctx context.Context, topic string) ([]Provider, error) {
	return s.findProviders(ctx, TopicKey(topic))
}

// findProviders returns what was found with an error, too.
func (s *Service) findProviders(ctx context.Context, key []byte) ([]Provider, error) {
	found, err := s.find(ctx, key, func(ctx context.Context, key []byte) (*lookup.Found, error) {
		return s.lookups.Search(ctx, s.providersOf(key))
	})
	providers := make([]Provider, len(found.Values))
	for i, v := range found.Values {
		providers[i] = provider.Of(v)
	}
	return providers, err
}

// ValuesSeq is FindValues that yields each value as a holder answers: of one provider
// again only if it is fresher, or proved and the one before was not. The quorum ends it,
// or breaking out of the loop, which leaves nothing running. An error comes last, without
// a value; see lookup.Lookups.Stream.
func (s *Service) ValuesSeq(ctx context.Context, key []byte) iter.Seq2[lookup.FoundValue, error] {
	return s.stream(ctx, s.searchOf(key))
}

// stream yields what a search finds, and ends with the service.
func (s *Service) stream(ctx context.Context, how lookup.Search) iter.Seq2[lookup.FoundValue, error] {
	return func(yield func(lookup.FoundValue, error) bool) {
		if !s.begin() {
			yield(lookup.FoundValue{}, ErrClosed)
			return
		}
		defer s.tasks.Done()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		for v, err := range s.lookups.Stream(ctx, how) {
			if err != nil && s.ctx.Err() != nil {
				err = ErrClosed
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// ProvidersSeq is FindProviders that yields each provider as a holder of its record
// answers: the same one again only if its record is fresher. See ValuesSeq.
func (s *Service) ProvidersSeq(ctx context.Context, name string) iter.Seq2[Provider, error] {
	return s.providersSeq(ctx, ServiceKey(name))
}

// SubscribersSeq is Subscribers that yields each one as a holder of its record
// answers; see ProvidersSeq.
func (s *Service) SubscribersSeq(ctx context.Context, topic string) iter.Seq2[Provider, error] {
	return s.providersSeq(ctx, TopicKey(topic))
}

func (s *Service) providersSeq(ctx context.Context, key []byte) iter.Seq2[Provider, error] {
	return func(yield func(Provider, error) bool) {
		for v, err := range s.stream(ctx, s.providersOf(key)) {
			p := Provider{}
			if err == nil {
				p = provider.Of(v)
			}
			if !yield(p, err) {
				return
			}
		}
	}
}
