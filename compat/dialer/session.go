package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// registration is a CONNECT that was answered, and the stream on which the
// gateway sends us what it has for us.
type registration struct {
	nodeID []byte // the gateway's, of its PONG
	end    func() // once: ends the stream, and the connection with it
}

// register sends a CONNECT, the one message by which a gateway comes to know us,
// and serves what comes on its stream until end is called; ended then has why.
// It goes over the very connection over which the gateway was looked at.
//
// Nothing of the stream is ended before the PONG has come: that would crash the
// gateway.
func (u *uplink) register(l *link, c *conn, ended chan error) (*registration, error) {
	self := u.handlers.Routing().Self()
	frame, err := wire.AppendFrame(nil, &wire.Connect{
		Version:      "1.0",
		NodeID:       self[:],
		RealmID:      u.handlers.Realm(),
		Endpoint:     u.handlers.Endpoint(),
		Capabilities: []string{"dht"},
	})
	if err != nil {
		return nil, err
	}
	timeout := u.dialer.cfg.replyTimeout
	opening, cancel := context.WithTimeout(u.ctx, timeout)
	defer cancel()
	s, err := c.OpenStreamSync(opening)
	if err != nil {
		l.abandon(c, 0)
		return nil, l.failed(err)
	}
	s.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := s.Write(frame); err != nil {
		l.abandon(c, 0)
		return nil, l.failed(err)
	}
	answers := make(chan wire.Frame, 1)
	serving, stop := context.WithCancel(context.Background())
	if err := u.serveStream(l, c, s, serving, answers, ended); err != nil {
		stop()
		return nil, err
	}
	end := sync.OnceFunc(func() {
		stop()
		l.abandon(c, 0) // the gateway has no other way to notice; as read in its source it asks us on its misses even then
	})
	nodeID, err := u.awaitPong(answers, ended)
	switch {
	case err == nil:
		return &registration{nodeID: nodeID, end: end}, nil
	case errors.Is(err, errSilent):
		l.abandon(c, u.dialer.cfg.rest)
		time.AfterFunc(u.dialer.cfg.abandon, stop)
	default:
		end()
	}
	return nil, fmt.Errorf("CONNECT to %s: %w", u.endpoint, l.failed(err))
}

// serveStream answers what a gateway asks on the stream of our CONNECT. It shows
// the first frame that is no question.
func (u *uplink) serveStream(l *link, c *conn, s *quic.Stream, ctx context.Context, answers chan<- wire.Frame, ended chan<- error) error {
	end := func(why error) {
		select {
		case ended <- why:
		default: // the first says it
		}
	}
	answered := false
	dialect := Dialect()
	dialect.Idle = 0 // it may have nothing to say for days
	state := &maculadht.Session{
		Dialect: dialect,
		Remote:  remoteAddr(c),
		Source:  sourceName(remoteAddr(c).Addr()).String(),
		Budget:  rate.NewLimiter(maculadht.DefaultPeerRate, maculadht.DefaultPeerBurst),
		Untouched: func(f wire.Frame) {
			if f.Type != wire.TypePong && f.Type != wire.TypeDisconnect {
				return
			}
			switch {
			case !answered: // by the first
				answered = true
				f.Payload = bytes.Clone(f.Payload)
				answers <- f // has room
			case f.Type == wire.TypeDisconnect:
				end(errTurnedAway)
			}
		},
	}
	l.hold(c)
	err := u.dialer.spawn(l, func() {
		defer l.leaveConn(c)
		defer context.AfterFunc(u.dialer.ctx, func() { c.CloseWithError(0, "") })()
		err := u.handlers.Serve(ctx, answering{stream{s}}, state)
		if err == nil {
			err = errors.New("the gateway ended it")
		}
		end(err)
	})
	if err != nil {
		l.leaveConn(c)
	}
	return err
}

// answering is the stream on which a gateway asks us. An answer that is longer
// than what it can take does not leave.
type answering struct{ stream }

func (a answering) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		f, _, err := wire.DecodeFrame(b[written:])
		if err != nil {
			return written, err // not of what Serve writes
		}
		frame := b[written : written+wire.HeaderSize+len(f.Payload)]
		if len(frame) <= MaxFrame {
			if _, err := a.stream.Write(frame); err != nil {
				return written, err
			}
		}
		written += len(frame)
	}
	return written, nil
}

// errTurnedAway: a gateway sent DISCONNECT.
var errTurnedAway = errors.New("the gateway disconnected")

// errSilent: a gateway did not answer in time.
var errSilent = errors.New("no answer to CONNECT in time")

// awaitPong returns the node id of the PONG that answers our CONNECT. When the
// uplinks are closed it is waited for a moment, for the gateway's sake.
func (u *uplink) awaitPong(answers <-chan wire.Frame, ended <-chan error) ([]byte, error) {
	timeout := time.NewTimer(u.dialer.cfg.replyTimeout)
	defer timeout.Stop()
	closing := u.ctx.Done()
	for {
		select {
		case f := <-answers:
			reply, err := maculadht.ReadReply(f, &wire.Connect{})
			if err != nil {
				return nil, err
			}
			pong, ok := reply.(*wire.Pong)
			if !ok || pong.NodeID == nil {
				return nil, &routing.RemoteError{Code: "bad_reply", Message: "PONG to CONNECT without a node id"}
			}
			return pong.NodeID, nil
		case err := <-ended:
			return nil, err
		case <-timeout.C:
			return nil, errSilent
		case <-closing:
			closing = nil
			timeout.Reset(closeGrace)
		}
	}
}
