package maculadht

import (
	"context"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

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
	return s.find(ctx, key, s.lookups.Values)
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
