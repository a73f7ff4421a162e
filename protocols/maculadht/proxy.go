package maculadht

import (
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
)

// WithResolver passes options on to what looks up, for Erlang nodes, what is not
// stored here.
func WithResolver(opts ...resolver.Option) Option {
	return func(c *serviceConfig) error {
		c.resolver = append(c.resolver, opts...)
		return nil
	}
}

// WithAdopter passes options on to what replicates the records that Erlang nodes
// store here.
func WithAdopter(opts ...replication.Option) Option {
	return func(c *serviceConfig) error {
		c.adopter = append(c.adopter, opts...)
		return nil
	}
}

// WithoutProxy has Erlang nodes served from what is stored here, and what they store
// kept here, and no more: nothing is looked up or replicated for them.
func WithoutProxy() Option {
	return func(c *serviceConfig) error {
		c.noProxy = true
		return nil
	}
}

// SetFollower has what others have, and is remembered for Erlang nodes, be followed; see
// resolver.Resolver.SetFollower. It does nothing where nothing is looked up for them.
func (s *Service) SetFollower(f resolver.Follower) {
	if s.resolver != nil {
		s.resolver.SetFollower(f)
	}
}

// openProxy makes what acts in the network for Erlang nodes, and returns the options
// by which the handlers use it.
func (s *Service) openProxy(cfg serviceConfig) ([]dht.Option, error) {
	if cfg.noProxy {
		return nil, nil
	}
	var err error
	if s.resolver, err = resolver.New(s.lookups, cfg.resolver...); err != nil {
		return nil, err
	}
	harmless := replication.WithFilter(func(_ []byte, v values.Value) bool { return values.Harmless(v.Raw) == nil })
	if s.adopter, err = replication.NewAdopter(s.lookups, s.router, append([]replication.Option{harmless}, cfg.adopter...)...); err != nil {
		return nil, err
	}
	return []dht.Option{dht.WithResolver(s.resolver), dht.WithAdopter(s.adopter)}, nil
}

// Adopted returns how many records of Erlang nodes are replicated at the moment.
func (s *Service) Adopted() int {
	if s.adopter == nil {
		return 0
	}
	return s.adopter.Stats().Records
}

// closeProxy ends that.
func (s *Service) closeProxy() {
	if s.resolver != nil {
		s.resolver.Close()
	}
	if s.adopter != nil {
		s.adopter.Close()
	}
}
