package ask

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// askError is what became of asking a node, in words for whoever typed the
// command.
type askError struct {
	text string
	err  error
}

func (e *askError) Error() string { return e.text }
func (e *askError) Unwrap() error { return e.err }

// attempt is where a node was asked, for how long, and how long it could have
// been.
type attempt struct {
	addr            string
	waited, timeout time.Duration
}

// explain says what to do about an error of asking a node. ctx is the one that
// an interrupt ends.
func explain(ctx context.Context, err error, a attempt) error {
	mismatch, isMismatch := errors.AsType[sec.ErrPeerIDMismatch](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return &askError{fmt.Sprintf("interrupted after %v: %s had not answered yet", round(a.waited), a.addr), err}
	case errors.Is(err, proto.ErrConnectFirst):
		return &askError{fmt.Sprintf("%s is a strict node, which answers nobody who has not CONNECTed in its realm: ask the node that runs here, without an address, or macula-node lookup --realm NAME", a.addr), err}
	case !errors.Is(err, proto.ErrUnreachable):
		return err // it says itself what the node had against it
	case isMismatch:
		return &askError{fmt.Sprintf("at %s is another node, with the peer id %s: check the address, or write that id behind /p2p/",
			a.addr, mismatch.Actual), err}
	case proto.IsClock(err):
		return &askError{fmt.Sprintf("the certificate of %s is not valid at the time of this machine's clock, %s: that, or the node's, is wrong by an hour or more; set it",
			a.addr, time.Now().Format(time.RFC3339)), err}
	case timedOut(err):
		text := fmt.Sprintf("no answer from %s within %v: check the address, and that the node runs and its UDP port can be reached from here", a.addr, round(a.waited))
		if a.waited >= a.timeout {
			text += "; --timeout sets how long to wait"
		}
		return &askError{text, err}
	}
	return fmt.Errorf("%w; check the address, and that the node runs", err)
}

// timedOut reports whether time was all that was wanting.
func timedOut(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// isLost reports whether there was a connection and it broke. Most often the
// node did not know it any more: it was restarted, or the last packets of the
// handshake, which is complete for us by then, took so long that the node had
// given it up. An Erlang node may also have crashed on the question; it is taken
// for lost only where it says that it does not know the connection.
func isLost(err error, erlang bool) bool {
	if _, unknown := errors.AsType[*quic.StatelessResetError](err); unknown || erlang {
		return unknown
	}
	_, notMade := errors.AsType[*swarm.DialError](err)
	return errors.Is(err, proto.ErrUnreachable) && !notMade && !timedOut(err)
}
