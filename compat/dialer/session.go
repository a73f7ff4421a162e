package dialer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Why a session ended, or did not come about, beside the errors of Send.
var (
	// ErrDisconnected: the node sent DISCONNECT.
	ErrDisconnected = errors.New("it disconnected us")
	// ErrStreamEnded: the node ended the session's stream.
	ErrStreamEnded = errors.New("it ended the stream")
)

// Session is a CONNECT that a node has answered, with the stream on which it
// asks and tells us things from then on. Close it.
type Session struct {
	// NodeID is the node's own, of its PONG.
	NodeID []byte

	pong  chan framing.Frame // takes the first answer
	close func()

	mu    sync.Mutex
	ended chan struct{}
	err   error // once ended is closed
}

// Done is closed when the session has ended; Err says why.
func (s *Session) Done() <-chan struct{} { return s.ended }

// Err returns why the session ended, nil while it has not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session, and the connection with it: the node has no other way
// to notice.
func (s *Session) Close() { s.close() }

// end ends the session; the first reason stands.
func (s *Session) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = why
		close(s.ended)
	}
}

// A ServeFunc answers what a node asks on the stream of a session, until the
// stream or ctx ends, and shows replies each frame that is no question, such as
// PONG, before it reads the next one. It returns why the stream was reset, nil
// where the node closed it.
type ServeFunc func(ctx context.Context, s server.Stream, replies func(framing.Frame)) error

// Connect sends a CONNECT, the one message by which a node comes to know us, and
// waits for its PONG. It goes over this very connection, or not at all
// (ErrMoved). One of another realm hangs the node for ever, so look first which
// realm it serves. What comes on the stream goes to serve, in a goroutine that
// ends with the session, or with the dialer, which waits for it.
//
// Until the PONG has come nothing of the stream is ended, as that would crash
// the node: when ctx ends it is waited for a moment longer. Errors are ErrNoReply,
// ErrStreamEnded, ErrMoved, proto.ErrUnreachable, proto.ErrRefused,
// proto.ErrRemote and proto.ErrClosed.
func (c *Conn) Connect(ctx context.Context, m *wire.Connect, serve ServeFunc) (*Session, error) {
	start := time.Now()
	s, err := c.connect(ctx, m, serve)
	c.link.dialer.cfg.tracer.RequestCompleted(m.Type(), time.Since(start), resultOf(err))
	return s, err
}

func (c *Conn) connect(ctx context.Context, m *wire.Connect, serve ServeFunc) (*Session, error) {
	l, d := c.link, c.link.dialer
	if err := c.Err(); err != nil {
		return nil, err
	}
	frame, err := framing.AppendFrame(nil, m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	opening, cancel := context.WithTimeout(ctx, d.cfg.limits.ReplyTimeout)
	defer cancel()
	stream, err := c.conn.OpenStreamSync(opening)
	if ctx.Err() != nil && err != nil {
		return nil, gaveUp(ctx) // the connection is as good as before
	}
	if err != nil {
		l.abandon(c.conn)
		return nil, l.failedOn(c.conn, err)
	}
	stream.SetWriteDeadline(time.Now().Add(d.cfg.limits.ReplyTimeout))
	if _, err := stream.Write(frame); err != nil {
		l.abandon(c.conn)
		return nil, l.failedOn(c.conn, err)
	}

	s := &Session{pong: make(chan framing.Frame, 1), ended: make(chan struct{})}
	serving, stop := context.WithCancel(context.Background())
	s.close = sync.OnceFunc(func() {
		stop()
		l.abandon(c.conn)
	})
	l.hold(c.conn)
	if err := d.spawn(l, func() {
		defer l.leaveConn(c.conn)
		defer context.AfterFunc(d.ctx, func() { c.conn.CloseWithError(0, "") })()
		err := serve(serving, answering{Stream{stream}, d, l.place}, s.replies())
		if err == nil {
			err = ErrStreamEnded
		}
		s.end(err)
	}); err != nil {
		l.leaveConn(c.conn)
		stop()
		return nil, err
	}

	s.NodeID, err = s.awaitPong(ctx, d.cfg.limits.ReplyTimeout)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, ErrNoReply), errors.Is(err, proto.ErrUnanswered):
		l.abandon(c.conn)
		if errors.Is(err, ErrNoReply) {
			d.backOff(c.RemoteAddr())
		}
		time.AfterFunc(d.cfg.limits.LateReply, stop)
	default:
		s.Close()
	}
	return nil, fmt.Errorf("CONNECT to %s: %w", l.place, l.failed(err))
}

// replies returns what takes the frames that are no questions: the first PONG or
// DISCONNECT answers our CONNECT, a DISCONNECT after it ends the session.
func (s *Session) replies() func(framing.Frame) {
	answered := false
	return func(f framing.Frame) {
		switch {
		case f.Type != wire.TypePong && f.Type != wire.TypeDisconnect:
		case !answered:
			answered = true
			f.Payload = bytes.Clone(f.Payload)
			s.pong <- f // has room
		case f.Type == wire.TypeDisconnect:
			s.end(ErrDisconnected)
		}
	}
}

// awaitPong returns the node id of the PONG that answers our CONNECT. When ctx
// ends it is waited for a moment, for the node's sake.
func (s *Session) awaitPong(ctx context.Context, timeout time.Duration) ([]byte, error) {
	silent := time.NewTimer(timeout)
	defer silent.Stop()
	closing := ctx.Done()
	late := fmt.Errorf("%w within %v", ErrNoReply, timeout)
	for {
		select {
		case f := <-s.pong:
			reply, err := proto.ReadReply(f, &wire.Connect{})
			if err != nil {
				return nil, err
			}
			pong, ok := reply.(*wire.Pong)
			if !ok || pong.NodeID == nil {
				return nil, &proto.RemoteError{Code: wire.CodeBadReply, Message: "PONG to CONNECT without a node id"}
			}
			return pong.NodeID, nil
		case <-s.ended:
			if len(s.pong) > 0 {
				continue // it answered before it ended
			}
			return nil, s.Err()
		case <-silent.C:
			return nil, late
		case <-closing:
			closing = nil
			late = fmt.Errorf("%w: %w", proto.ErrUnanswered, context.Cause(ctx))
			silent.Reset(closeGrace)
		}
	}
}

// answering is the stream on which a node asks us. An answer that is longer than
// what it can take does not leave; that is counted, and said.
type answering struct {
	Stream
	dialer *Dialer
	to     place
}

func (a answering) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		size := framing.HeaderSize + int(binary.BigEndian.Uint32(b[written+4:])) // a Write has whole frames
		frame := b[written : written+size]
		if len(frame) <= safety.MaxFrame {
			if _, err := a.Stream.Write(frame); err != nil {
				return written, err
			}
		} else {
			t := wire.Type(frame[1])
			a.dialer.cfg.tracer.AnswerDropped(t, len(frame))
			a.dialer.dropped.Info("an answer is too long for an Erlang node and was not sent",
				"to", a.to, "type", t, "bytes", len(frame), "most", safety.MaxFrame)
		}
		written += len(frame)
	}
	return written, nil
}
