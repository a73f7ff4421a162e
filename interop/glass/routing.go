package glass

import (
	"context"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// The routing server does one thing at a time, too. While it asks its peers on a
// miss, all that the gateway process wants of it waits, and that process for it:
// for at most 10 s, then it crashes. What it was asked it does all the same.

// find has the routing server look for the values of a key. It reports whether
// the gateway has not crashed by waiting for it, or it by what it was answered.
// The turn is held, g.mu is not.
func (g *Gateway) find(key wire.Raw) ([]wire.Raw, bool) {
	if g.routing.try() {
		values := g.local(key)
		g.routing.give()
		if values != nil {
			return values, true
		}
	}
	var found struct { // not looked at unless it is all there
		values []wire.Raw
		err    error
	}
	if !g.callRouting(func(asked context.Context) { found.values, found.err = g.lookUp(asked, key) }) || found.err != nil {
		return nil, false
	}
	return found.values, true
}

// waitRouting waits until the routing server is free, as each call of it does.
func (g *Gateway) waitRouting() bool {
	if g.routing.try() {
		g.routing.give()
		return true
	}
	return g.callRouting(func(context.Context) {})
}

// callRouting has the routing server do something, with a context that ends when
// nobody waits for it any more.
func (g *Gateway) callRouting(do func(asked context.Context)) bool {
	asked, cancel := context.WithTimeout(g.ctx, g.cfg.missLimit)
	done := make(chan struct{})
	if !g.spawn(func() {
		if !g.routing.take(g.ctx) {
			return
		}
		defer g.routing.give()
		do(asked)
		close(done)
	}) {
		cancel()
		return false
	}
	defer cancel()
	select {
	case <-done:
		if asked.Err() == nil {
			return true
		}
	case <-asked.Done():
	}
	if g.ctx.Err() == nil {
		g.crashGatewayNow(CauseSlowMiss, fmt.Sprintf("more than %v", g.cfg.missLimit))
	}
	return false
}

func (g *Gateway) local(key wire.Raw) []wire.Raw {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.values[string(erlangForm(key))]
}

// lookUp looks in the store and then asks the peers. Its only error is that a
// reply has crashed the routing server. The place of the routing server is held.
func (g *Gateway) lookUp(asked context.Context, key wire.Raw) ([]wire.Raw, error) {
	if values := g.local(key); values != nil {
		return values, nil
	}
	values, err := g.askPeers(g.ctx, key)
	if err == nil && values == nil && g.cfg.missTakes > 0 {
		pause(asked, g.cfg.missTakes)
	}
	return values, err
}

// Lookup looks for the values of a key: in its own store, then at its peers, one
// after the other. Its routing server does nothing else meanwhile. Without a
// value it is ErrNotFound, after a reply that crashed it ErrBadReply.
func (g *Gateway) Lookup(ctx context.Context, key []byte) ([]wire.Raw, error) {
	if !g.routing.take(ctx) {
		return nil, context.Cause(ctx)
	}
	defer g.routing.give()
	if values := g.Stored(key); values != nil {
		return values, nil
	}
	values, err := g.askPeers(ctx, wire.RawBytes(key))
	if values != nil || err != nil {
		return values, err
	}
	return nil, fmt.Errorf("%w: %x", ErrNotFound, key)
}

// FindValue asks one endpoint for the values of a key, as each step of a lookup
// does: a new connection, one stream, one frame, no FIN, and the first bytes
// that come are the reply. A miss has none.
func (g *Gateway) FindValue(ctx context.Context, endpoint string, key []byte) ([]wire.Raw, error) {
	if !g.routing.take(ctx) {
		return nil, context.Cause(ctx)
	}
	defer g.routing.give()
	return g.ask(ctx, endpoint, wire.RawBytes(key))
}

// askPeers asks one peer after the other until one has the value, or its reply
// has crashed the node, which is the only error.
func (g *Gateway) askPeers(ctx context.Context, key wire.Raw) ([]wire.Raw, error) {
	for _, endpoint := range g.peers() {
		values, err := g.ask(ctx, endpoint, key)
		if errors.Is(err, errCrashed) {
			return nil, err
		}
		if len(values) > 0 {
			return values, nil
		}
	}
	return nil, nil
}
