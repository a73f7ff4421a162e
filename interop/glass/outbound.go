package glass

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

// What a node's own questions end with.
var (
	// ErrNotFound: no peer has a value.
	ErrNotFound = errors.New("glass: not found")
	// ErrBadReply: the first bytes of a reply were no FIND_VALUE_REPLY that the
	// reference can read. Where it breaks by one, Broken tells.
	ErrBadReply = errors.New("glass: bad reply")

	errCrashed = errors.New("crashed by it")
)

// noticeWithin is how long it takes a node at most to notice that another one
// was killed. The reference's QUIC library gives up on what is not acknowledged;
// this one knows only the idle time-out.
const noticeWithin = 13 * time.Second

// outbound is what a node has dialled; guarded by Gateway.mu.
type outbound struct {
	kept []*quic.Conn       // never closed
	pool map[string]*pooled // for STORE, per endpoint's text
	mesh map[string]*pooled // for what is routed, per node id
}

// pooled is a connection with one stream, on which frames are passed on to an
// endpoint. Nothing is read of it.
type pooled struct {
	turn   turn
	conn   *quic.Conn // nil where there is none
	stream *quic.Stream
}

func (o *outbound) open() (n int) {
	for _, c := range o.kept {
		if c.Context().Err() == nil {
			n++
		}
	}
	return n
}

// dial connects to an endpoint, "https://host:port", and verifies nothing.
func (g *Gateway) dial(ctx context.Context, endpoint string) (*quic.Conn, error) {
	e, err := endpoints.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("glass: %w", err)
	}
	addr, err := net.ResolveUDPAddr("udp", e.HostPort())
	if err != nil {
		return nil, fmt.Errorf("glass: endpoint %q: %w", endpoint, err)
	}
	conf := &tls.Config{NextProtos: []string{ALPN}, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	g.mu.Lock()
	transport := g.line.transport
	g.mu.Unlock()
	out := quicConfig()
	out.MaxIdleTimeout, out.KeepAlivePeriod = noticeWithin, noticeWithin/3
	conn, err := transport.Dial(ctx, addr, conf, out)
	if err != nil {
		return nil, fmt.Errorf("glass: dial %s: %w", endpoint, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Dialled++
	return conn, nil
}

// keep dials a connection that is kept open until Close.
func (g *Gateway) keep(ctx context.Context, endpoint string) (*quic.Conn, error) {
	conn, err := g.dial(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	closed := g.closed
	g.kept = slices.DeleteFunc(g.kept, func(c *quic.Conn) bool { return c.Context().Err() != nil })
	g.kept = append(g.kept, conn)
	g.mu.Unlock()
	if closed {
		conn.CloseWithError(0, "")
		return nil, net.ErrClosed
	}
	return conn, nil
}

// peers returns the endpoints that are asked on a miss: those that it
// bootstrapped from and those that CONNECTed.
func (g *Gateway) peers() (endpoints []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.parents {
		endpoints = append(endpoints, p.endpoint)
	}
	for _, peer := range g.guests {
		if text := contentOf(peer.address); strings.HasPrefix(text, "https://") {
			endpoints = append(endpoints, text)
		}
	}
	return endpoints
}

func (g *Gateway) ask(ctx context.Context, endpoint string, key wire.Raw) ([]wire.Raw, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.peerTimeout)
	defer cancel()
	conn, err := g.dial(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	defer conn.CloseWithError(0, "")
	stop := context.AfterFunc(g.ctx, func() { conn.CloseWithError(0, "") })
	defer stop()
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, fmt.Errorf("glass: stream to %s: %w", endpoint, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		s.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { conn.CloseWithError(0, "") })()
	if _, err := s.Write(frame(wire.TypeFindValue, wire.Pair{Key: "key", Value: key})); err != nil {
		return nil, fmt.Errorf("glass: ask %s: %w", endpoint, err)
	}
	buffer := g.buffers.Get().(*[]byte)
	defer g.buffers.Put(buffer)
	n, err := s.Read(*buffer)
	if n == 0 {
		return nil, fmt.Errorf("glass: no reply of %s: %w", endpoint, err)
	}
	return g.readReply(bytes.Clone((*buffer)[:n]))
}

// readReply reads a reply as the reference does, and breaks where that does.
func (g *Gateway) readReply(first []byte) ([]wire.Raw, error) {
	f, _, err := framing.DecodeFrame(first)
	if err == nil {
		err = f.Check()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case errors.Is(err, framing.ErrTruncated):
		g.stats.CutReplies++
		fallthrough
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrBadReply, err)
	case f.Type != wire.TypeFindValueReply:
		return nil, fmt.Errorf("%w: a %s", ErrBadReply, f.Type)
	}
	reply := wire.Raw(f.Payload)
	if nodes, there := field(reply, "nodes"); there {
		if elems, _ := listOf(nodes); len(elems) > 0 {
			g.crash(CauseReplyNodes, "")
			return nil, fmt.Errorf("%w: %w: %s", ErrBadReply, errCrashed, CauseReplyNodes)
		}
		return nil, nil
	}
	value, there := field(reply, "value")
	if !there {
		return nil, fmt.Errorf("%w: neither value nor nodes", ErrBadReply)
	}
	values, isList := listOf(value)
	if !isList {
		g.crash(CauseReplyValue, value.Kind().String())
		return nil, fmt.Errorf("%w: %w: %s", ErrBadReply, errCrashed, CauseReplyValue)
	}
	return values, nil
}

// StoreAt passes a value on to an endpoint: on the one stream of the one
// connection that it keeps to it, of which it never reads.
func (g *Gateway) StoreAt(ctx context.Context, endpoint string, key []byte, value wire.Raw) error {
	b, err := framing.AppendFrame(nil, &wire.Store{Key: key, Value: value})
	if err != nil {
		return err
	}
	if err := g.passOn(ctx, g.pooledTo(&g.pool, endpoint), endpoint, b); err != nil {
		return fmt.Errorf("glass: store at %s: %w", endpoint, err)
	}
	return nil
}

// pooledTo returns what is kept under a name, be it without a connection yet.
func (g *Gateway) pooledTo(kept *map[string]*pooled, name string) *pooled {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := (*kept)[name]
	if p == nil {
		p = &pooled{turn: newTurn()}
		(*kept)[name] = p
	}
	return p
}

// passOn writes a frame on a pooled stream, which is opened where there is none.
func (g *Gateway) passOn(ctx context.Context, p *pooled, endpoint string, b []byte) (err error) {
	if !p.turn.take(ctx) {
		return context.Cause(ctx)
	}
	defer p.turn.give()
	if p.conn == nil || p.conn.Context().Err() != nil {
		if p.conn, err = g.keep(ctx, endpoint); err != nil {
			p.conn = nil
			return err
		}
		if p.stream, err = p.conn.OpenStreamSync(ctx); err != nil {
			p.conn.CloseWithError(0, "")
			return err
		}
	}
	if _, err := p.stream.Write(b); err != nil {
		p.conn.CloseWithError(0, "") // and dialled anew the next time
		return err
	}
	return nil
}

// Propagate passes a value on to all its peers.
func (g *Gateway) Propagate(ctx context.Context, key []byte, value wire.Raw) error {
	var errs error
	for _, endpoint := range g.peers() {
		errs = errors.Join(errs, g.StoreAt(ctx, endpoint, key, value))
	}
	return errs
}
