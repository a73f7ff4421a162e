package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Session is a stream of its own on which this node has CONNECTed, for who tells answers
// apart by what is in them. Write and Next may each be used by one goroutine at a time.
type Session struct {
	network.Stream

	in *framing.Reader
}

// OpenSession opens a stream to a contact and CONNECTs on it, which Limits.Timeout and
// ctx bound. A contact of another realm is an ErrRefused. It is for its caller to close
// or reset, before the client's host is closed.
func (c *Client) OpenSession(ctx context.Context, to routing.Contact) (*Session, error) {
	s, err := c.openSession(ctx, &to)
	switch {
	case err == nil:
		return s, nil
	case c.ctx.Err() != nil:
		err = proto.ErrClosed
	case ctx.Err() != nil:
		err = gaveUp(ctx)
	}
	return nil, fmt.Errorf("session with %s: %w", to.Peer, err)
}

func (c *Client) openSession(ctx context.Context, to *routing.Contact) (*Session, error) {
	if c.cfg.connect == nil {
		return nil, errors.New("the client has no CONNECT to send")
	}
	at, err := addrInfo(to)
	if err != nil {
		return nil, err
	}
	c.learnAddrs(at.ID, at.Addrs)
	ctx, cancel := context.WithTimeout(ctx, c.cfg.limits.Timeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	stream, err := c.openStream(ctx, at.ID)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { stream.ResetWithError(network.StreamErrorCode(proto.ResetTimeout)) })
	s := &Session{Stream: stream, in: framing.NewReader(stream, framing.WithMemory(stream.Scope()))}
	if err = c.connectOn(s); err == nil && !stop() {
		err = gaveUp(ctx)
	}
	if err != nil {
		stop()
		s.Reset(proto.ResetGone)
		s.Close()
		return nil, err
	}
	return s, nil
}

// connectOn CONNECTs on a session's stream.
func (c *Client) connectOn(s *Session) (err error) {
	if c.cfg.traced() {
		defer c.trace(wire.TypeConnect, time.Now(), &err)
	}
	return s.connect(c.cfg.connect(s.Conn()))
}

func (s *Session) connect(m *wire.Connect) error {
	frame, err := prepare(nil, m)
	if err != nil {
		return err
	}
	if _, err := s.Write(frame); err != nil {
		return streamError(err)
	}
	f, err := s.in.Next()
	if err != nil {
		return streamError(err)
	}
	reply, err := proto.ReadReply(f, m)
	if err != nil {
		return err
	}
	if pong, ok := reply.(*wire.Pong); !ok || pong.RealmID != m.RealmID {
		return &proto.RefusedError{Reason: fmt.Sprintf("%s: we serve the realm %q", wire.ReasonRealmMismatch, m.RealmID)}
	}
	return nil
}

// Next returns the next frame, whose payload is valid until the call after. The error is
// the stream's end.
func (s *Session) Next() (framing.Frame, error) { return s.in.Next() }

// Reset ends the stream at once and says why; Next fails from then on.
func (s *Session) Reset(code proto.ResetCode) {
	_ = s.ResetWithError(network.StreamErrorCode(code))
}

// Close closes the stream, and gives up what was read and not taken. Nobody may be in
// Next.
func (s *Session) Close() error {
	s.in.Close()
	return s.Stream.Close()
}
