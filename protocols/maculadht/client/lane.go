package client

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// ErrBroken: the stream or its connection ended before the reply came, which says
// nothing of the request.
var ErrBroken = errors.New("stream broke")

// openPause is how long a lane that has streams waits, after it could not open
// one more, before it tries again.
const openPause = time.Second

// lane is the streams to one peer that its requests share.
type lane struct {
	client *Client
	key    laneKey
	slots  chan struct{} // one token for each request that may be under way
	users  atomic.Int32  // requests, pipes and an opening, which hold the lane

	// pipes are the streams, those that have ended among them for a moment. A
	// list is replaced, never written to, so that a request need not lock to
	// find its stream.
	pipes atomic.Pointer[[]*pipe]

	mu      sync.Mutex // of what follows, and of replacing pipes
	homes   [shards]*pipe
	closed  bool     // no stream is added any more
	opening *opening // nil while no stream is being opened
	failed  time.Time

	tag     string // protects the peer while the lane is in use
	usingMu sync.Mutex
	using   int // guarded by usingMu
}

// opening is a stream that is being opened, for all requests that wait for one.
type opening struct {
	done chan struct{} // closed when err is set
	err  error
}

func newLane(c *Client, key laneKey) *lane {
	l := &lane{client: c, key: key, slots: make(chan struct{}, c.cfg.limits.Streams*c.cfg.limits.Pipeline)}
	l.pipes.Store(new([]*pipe))
	l.tag = "macula-dht/asks"
	if key.slow {
		l.tag = "macula-dht/stores"
	}
	return l
}

// do sends a request and waits for what comes of it: the reply, where its type
// has one. It reports false where it gave the request up, which then stays with
// its stream.
func (l *lane) do(ctx context.Context, r *request) (o outcome, settled bool) {
	if err := l.takeSlot(ctx); err != nil {
		return outcome{err: err}, true
	}
	l.inUse(+1)
	defer l.inUse(-1)
	for {
		p, err := l.pipe(ctx, r)
		if err != nil {
			<-l.slots
			return outcome{err: err}, true
		}
		if p.enqueue(r) {
			break // from here on the pipe frees the slot
		}
	}
	select {
	case o := <-r.done:
		return o, true
	case <-ctx.Done():
		return outcome{err: gaveUp(ctx)}, false // it keeps its slot until its reply has come
	}
}

// inUse counts the requests that somebody waits for. While there are some the
// connection manager spares the peer.
func (l *lane) inUse(n int) {
	l.usingMu.Lock()
	defer l.usingMu.Unlock()
	before := l.using
	l.using += n
	switch {
	case before == 0:
		l.client.conns.Protect(l.key.peer, l.tag)
	case l.using == 0:
		l.client.conns.Unprotect(l.key.peer, l.tag)
	}
}

func (l *lane) takeSlot(ctx context.Context) error {
	if ctx.Err() != nil {
		return gaveUp(ctx)
	}
	select { // nearly always there is one, and this is the cheap way to it
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return gaveUp(ctx)
	case <-l.client.ctx.Done():
		return proto.ErrClosed
	}
}

// gaveUp says that the caller did not wait for the peer. A deadline leaves it
// open whose time was too short; a caller that has changed its mind says
// nothing of the peer.
func gaveUp(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", proto.ErrUnreachable, context.Cause(ctx))
	}
	return context.Cause(ctx)
}

// shards is how many parts the keys of a lane are in. What is stored under the keys
// of one goes on one stream while that lives.
const shards = 64

// home returns the stream of a request's shard, nil where it has none that will do.
func (l *lane) home(r *request) *pipe {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.homes[r.shard]
	if p == nil || p.over.Load() || !p.opened.After(r.fresh) {
		return nil
	}
	return p
}

// settle makes a stream the home of a request's shard, unless another request just
// has.
func (l *lane) settle(r *request, p *pipe) *pipe {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.homes[r.shard]; other != nil && !other.over.Load() && other.opened.After(r.fresh) {
		return other
	}
	l.homes[r.shard] = p
	return p
}

// pipe returns a stream for a request, once there is one with room. Streams that
// were opened after r.fresh are preferred.
func (l *lane) pipe(ctx context.Context, r *request) (*pipe, error) {
	for {
		if r.shard >= 0 {
			if p := l.home(r); p != nil {
				return p, nil
			}
		}
		p, o, err := l.pick(ctx, r)
		if p != nil && r.shard >= 0 {
			p = l.settle(r, p)
		}
		if p != nil || err != nil {
			return p, err
		}
		if o == nil {
			runtime.Gosched() // whoever leaves room is about to say so
			continue
		}
		select {
		case <-o.done:
			if o.err != nil {
				return nil, o.err
			}
		case <-ctx.Done():
			return nil, gaveUp(ctx)
		}
	}
}

// pick returns the least busy stream, or the opening to wait for where none has
// room. Each stream takes half of what it can before one more is opened, while
// there may be more.
func (l *lane) pick(ctx context.Context, r *request) (*pipe, *opening, error) {
	best, enough := l.leastBusy(r.fresh)
	if enough {
		return best, nil, nil
	}
	l.client.learnAddrs(l.key.peer, r.addrs)
	l.mu.Lock()
	defer l.mu.Unlock()
	best, enough = l.leastBusy(r.fresh) // somebody else may just have added one
	switch {
	case l.closed:
		return nil, nil, proto.ErrClosed
	case enough:
	case l.opening == nil && (best == nil || time.Since(l.failed) > openPause):
		l.opening = &opening{done: make(chan struct{})}
		l.users.Add(1)
		l.client.tasks.Add(1)
		go l.open(context.WithoutCancel(ctx), l.opening)
	}
	return best, l.opening, nil
}

// leastBusy returns the stream with the most room, if any has room, and whether
// there are streams enough. Where all are there and the fresh ones are full, an
// older one has to do.
func (l *lane) leastBusy(fresh time.Time) (best *pipe, enough bool) {
	cfg := &l.client.cfg
	var older *pipe
	least, leastOlder := cfg.limits.Pipeline, cfg.limits.Pipeline
	streams := 0
	for _, p := range *l.pipes.Load() {
		n, ended := p.load()
		if ended {
			continue
		}
		streams++
		switch {
		case !p.opened.After(fresh):
			if n < leastOlder {
				older, leastOlder = p, n
			}
		case n < least:
			best, least = p, n
		}
	}
	if best == nil && streams >= cfg.limits.Streams {
		best = older
	}
	return best, streams >= cfg.limits.Streams || least < max(cfg.limits.Pipeline/2, 1)
}

// open opens one more stream. It ends with the client, not with the request
// that happened to be the first to want it.
func (l *lane) open(ctx context.Context, o *opening) {
	c := l.client
	defer c.tasks.Done()
	defer c.leave(l)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	s, err := c.openStream(ctx, l.key.peer)

	l.mu.Lock()
	switch {
	case l.closed:
		o.err = proto.ErrClosed
	case err != nil:
		o.err = err
		l.failed = time.Now()
	default:
		p := newPipe(l, s)
		pipes := append(slices.Clone(*l.pipes.Load()), p)
		l.pipes.Store(&pipes)
		l.users.Add(1)
		c.tasks.Add(2)
		go p.read()
		go p.write()
	}
	l.opening = nil
	l.mu.Unlock()
	close(o.done)
	if s != nil && o.err != nil {
		s.ResetWithError(network.StreamErrorCode(proto.ResetShutdown))
	}
}

// remove takes a stream that has ended out of use.
func (l *lane) remove(p *pipe) {
	l.mu.Lock()
	pipes := slices.DeleteFunc(slices.Clone(*l.pipes.Load()), func(other *pipe) bool { return other == p })
	l.pipes.Store(&pipes)
	l.mu.Unlock()
	l.client.leave(l)
}

// close ends all streams.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	for _, p := range *l.pipes.Load() {
		p.end(proto.ErrClosed, proto.ResetShutdown)
	}
}

// streamError tells what the end of a stream means for a request on it.
func streamError(err error) error {
	if reset, ok := errors.AsType[*network.StreamError](err); ok && reset.Remote {
		code := proto.ResetCode(reset.ErrorCode)
		switch code {
		case proto.ResetConnectFirst:
			return fmt.Errorf("%w: %w", ErrBroken, proto.ErrConnectFirst)
		case proto.ResetRefused:
			return fmt.Errorf("%w: %w", ErrBroken, &proto.RefusedError{Reason: "peer reset the stream: " + code.String()})
		}
		return fmt.Errorf("%w: %w: peer reset the stream: %s", ErrBroken, proto.ErrUnreachable, code)
	}
	return fmt.Errorf("%w: %w: %w", ErrBroken, proto.ErrUnreachable, err)
}
