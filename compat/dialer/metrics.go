package dialer

import (
	"context"
	"errors"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/dialer/pace"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Result is how a dial or a request ended, few enough to count each.
type Result string

// The results.
const (
	ResultOK          Result = "ok"
	ResultRemoteError Result = "remote_error" // answered, by an error or by what is no answer
	ResultTimeout     Result = "timeout"      // no handshake or no reply in time, ours or the caller's
	ResultCanceled    Result = "canceled"     // the caller gave up
	ResultBackoff     Result = "backoff"      // not asked, see Limits.Backoff
	ResultLimited     Result = "limited"      // not dialled, see Limits.MaxDials
	ResultBusy        Result = "busy"         // every handshake was refused
	ResultCertificate Result = "certificate"  // not the wanted one
	ResultNotSent     Result = "not_sent"     // harmful, too large or invalid
	ResultClosed      Result = "closed"       // the dialer was
	ResultUnreachable Result = "unreachable"  // anything else
)

// MetricsTracer is told what a Dialer does. Its methods are called from many
// goroutines at once and must return at once.
type MetricsTracer interface {
	// DialCompleted is called after each dial of a connection, retries included.
	DialCompleted(took time.Duration, result Result)
	// RequestCompleted is called after each Send and Query, and after CONNECT, with
	// how long its caller waited.
	RequestCompleted(t wire.Type, took time.Duration, result Result)
	// BackoffStarted is called when a node did not answer in time and is left alone
	// for a while.
	BackoffStarted(wait time.Duration)
	// AnswerDropped is called when an answer to what a node asked in a session was
	// longer, in bytes, than what it can take.
	AnswerDropped(t wire.Type, size int)
}

// WithMetricsTracer sets who is told what the dialer does; nobody without it.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("no metrics tracer")
		}
		c.tracer = t
		return nil
	}
}

type noTracer struct{}

func (noTracer) DialCompleted(time.Duration, Result)               {}
func (noTracer) RequestCompleted(wire.Type, time.Duration, Result) {}
func (noTracer) BackoffStarted(time.Duration)                      {}
func (noTracer) AnswerDropped(wire.Type, int)                      {}

func isLimit(err error) bool {
	_, is := errors.AsType[*pace.LimitError](err)
	return is
}

func resultOf(err error) Result {
	switch {
	case err == nil:
		return ResultOK
	case errors.Is(err, proto.ErrClosed):
		return ResultClosed
	case isLimit(err):
		return ResultLimited
	case errors.Is(err, ErrBackoff):
		return ResultBackoff
	case errors.Is(err, identity.ErrCertificate):
		return ResultCertificate
	case errors.Is(err, proto.ErrRemote), errors.Is(err, proto.ErrRefused):
		return ResultRemoteError
	case errors.Is(err, safety.ErrHarmful), errors.Is(err, safety.ErrTooLargeForPeer), errors.Is(err, proto.ErrInvalidRequest):
		return ResultNotSent
	case pace.Refused(err):
		return ResultBusy
	case errors.Is(err, ErrNoReply), errors.Is(err, context.DeadlineExceeded):
		return ResultTimeout
	case errors.Is(err, context.Canceled), errors.Is(err, proto.ErrUnanswered):
		return ResultCanceled
	}
	return ResultUnreachable
}
