package maculadht

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// errBroken marks a request whose stream broke before the reply came.
var errBroken = errors.New("stream broke")

// lane is the streams to one peer that its requests share.
type lane struct {
	client *Client
	key    laneKey
	users  int // requests and pipes that hold it; guarded by client.mu

	slots   chan struct{} // one token for each request that may be under way
	opening chan struct{} // held by the request that opens a stream
	pipes   []*pipe       // guarded by client.mu
}

func newLane(c *Client, key laneKey) *lane {
	return &lane{
		client:  c,
		key:     key,
		slots:   make(chan struct{}, c.cfg.streams*c.cfg.pipeline),
		opening: make(chan struct{}, 1),
	}
}

// do sends a frame and waits for its reply, if its type has one, on a stream
// that was opened after since.
func (l *lane) do(ctx context.Context, t wire.Type, frame []byte, since time.Time) (wire.Frame, error) {
	r := &request{typ: t, frame: frame, done: make(chan outcome, 1)}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return wire.Frame{}, gaveUp(ctx)
	case <-l.client.ctx.Done():
		return wire.Frame{}, ErrClosed
	}
	for {
		p, err := l.pipe(ctx, since)
		if err != nil {
			<-l.slots
			return wire.Frame{}, err
		}
		if p.enqueue(r) {
			break // from here on the pipe frees the slot
		}
	}
	select {
	case o := <-r.done:
		return o.frame, o.err
	case <-ctx.Done():
		return wire.Frame{}, gaveUp(ctx) // the request keeps its slot until its reply has come
	}
}

// gaveUp says that the caller's time ran out before the peer's.
func gaveUp(ctx context.Context) error {
	return fmt.Errorf("%w: %w", routing.ErrUnreachable, context.Cause(ctx))
}

// pipe returns the least busy stream, or a new one while there may be more and
// none is idle enough.
func (l *lane) pipe(ctx context.Context, since time.Time) (*pipe, error) {
	if p := l.pick(since); p != nil {
		return p, nil
	}
	select {
	case l.opening <- struct{}{}:
		defer func() { <-l.opening }()
	case <-ctx.Done():
		return nil, gaveUp(ctx)
	}
	if p := l.pick(since); p != nil { // somebody else just opened one
		return p, nil
	}
	s, err := l.client.openStream(ctx, l.key.peer)
	if err != nil {
		return nil, err
	}
	return l.add(s)
}

// pick returns a stream to use, nil to have one opened: each takes half of what
// it can before there is another.
func (l *lane) pick(since time.Time) *pipe {
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	var best *pipe
	least := l.client.cfg.pipeline
	for _, p := range l.pipes {
		if n := p.load(); n < least && p.opened.After(since) {
			best, least = p, n
		}
	}
	if least >= max(l.client.cfg.pipeline/2, 1) && len(l.pipes) < l.client.cfg.streams {
		return nil
	}
	return best
}

func (l *lane) add(s network.Stream) (*pipe, error) {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		s.ResetWithError(network.StreamErrorCode(ResetShutdown))
		return nil, ErrClosed
	}
	p := newPipe(l, s)
	l.pipes = append(l.pipes, p)
	l.users++
	c.tasks.Add(2)
	go p.read()
	go p.write()
	return p, nil
}

// remove takes a stream that has ended out of use.
func (l *lane) remove(p *pipe) {
	l.client.mu.Lock()
	l.pipes = slices.DeleteFunc(l.pipes, func(other *pipe) bool { return other == p })
	l.client.mu.Unlock()
	l.client.leave(l)
}

// streamError tells what the end of a stream means for a request on it.
func streamError(err error) error {
	if reset, ok := errors.AsType[*network.StreamError](err); ok && reset.Remote {
		code := ResetCode(reset.ErrorCode)
		if code == ResetRefused {
			return fmt.Errorf("%w: %w", errBroken, &routing.RefusedError{Reason: "peer reset the stream: " + code.String()})
		}
		return fmt.Errorf("%w: %w: peer reset the stream: %s", errBroken, routing.ErrUnreachable, code)
	}
	return fmt.Errorf("%w: %w: %w", errBroken, routing.ErrUnreachable, err)
}
