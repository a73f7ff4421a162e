package proto

import (
	"context"
	"errors"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Result is what became of asking somebody, few enough to count each. Packages
// that ask may have more.
type Result string

// The results.
const (
	ResultOK          Result = "ok"
	ResultBusy        Result = "busy"        // the answer was that the peer has no time for us
	ResultRemote      Result = "remote"      // the answer was another error, or could not be one
	ResultRefused     Result = "refused"     // ErrRefused
	ResultTimeout     Result = "timeout"     // its time was over, ours or the caller's
	ResultCanceled    Result = "canceled"    // the caller gave up
	ResultUnreachable Result = "unreachable" // ErrUnreachable
	ResultInvalid     Result = "invalid"     // ErrInvalidRequest: not sent
	ResultClosed      Result = "closed"      // ErrClosed
	ResultFailed      Result = "failed"      // anything else
)

// ResultOf returns the result that an error stands for.
func ResultOf(err error) Result {
	remote, isRemote := errors.AsType[*RemoteError](err)
	switch {
	case err == nil:
		return ResultOK
	case isRemote && remote.Code == wire.ReasonBusy:
		return ResultBusy
	case isRemote:
		return ResultRemote
	case errors.Is(err, ErrRefused):
		return ResultRefused
	case errors.Is(err, ErrClosed):
		return ResultClosed
	case errors.Is(err, ErrInvalidRequest):
		return ResultInvalid
	case errors.Is(err, context.DeadlineExceeded):
		return ResultTimeout
	case errors.Is(err, context.Canceled), errors.Is(err, ErrUnanswered):
		return ResultCanceled
	case errors.Is(err, ErrUnreachable):
		return ResultUnreachable
	default:
		return ResultFailed
	}
}
