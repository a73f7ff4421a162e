package routing

import (
	"context"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Network carries messages to contacts: over libp2p to those with a peer id,
// over the Erlang transport to those with only an endpoint. What it returns
// owns its memory. Its errors are [ErrUnreachable], [ErrRefused] or
// [ErrRemote], or those of ctx. It is safe for concurrent use.
type Network interface {
	// Send hands m to the contact and waits for no answer.
	Send(ctx context.Context, to Contact, m wire.Message) error
	// Query sends m to the contact and returns its answer. It only reads m,
	// which several queries may share, and it must return soon after ctx has
	// ended: who cancels waits for that.
	Query(ctx context.Context, to Contact, m wire.Message) (wire.Message, error)
}

// How asking a contact fails. Test with errors.Is.
var (
	// ErrUnreachable means that no answer could be had: the contact was not
	// reached, or the connection broke.
	ErrUnreachable = errors.New("unreachable")
	// ErrResting means that the contact was not even asked: it did not answer in
	// time a short while ago, and is spared for now. It is an ErrUnreachable too.
	ErrResting = fmt.Errorf("%w: did not answer in time, left alone for now", ErrUnreachable)
	// ErrUnanswered means that the question had left when ctx ended: the contact
	// may be at work on it still. It is an ErrUnreachable too.
	ErrUnanswered = fmt.Errorf("%w: given up before the answer came", ErrUnreachable)
	// ErrRefused means that we or the contact would not talk; the error is a
	// [*RefusedError] when the reason is known.
	ErrRefused = errors.New("refused")
	// ErrRemote means that the contact answered with an error; the error is a
	// [*RemoteError].
	ErrRemote = errors.New("the peer answered with an error")
)

// RefusedError is an [ErrRefused] with its reason, such as "realm_mismatch".
type RefusedError struct {
	Reason string
}

// Error names the reason.
func (e *RefusedError) Error() string {
	return ErrRefused.Error() + ": " + e.Reason
}

// Is reports whether target is ErrRefused.
func (e *RefusedError) Is(target error) bool {
	return target == ErrRefused
}

// RemoteError is an [ErrRemote] as the contact put it: a code such as
// "invalid_args" or "busy", and a text that may be empty.
type RemoteError struct {
	Code    string
	Message string
}

// Error names the code and the message.
func (e *RemoteError) Error() string {
	if e.Message == "" {
		return ErrRemote.Error() + ": " + e.Code
	}
	return ErrRemote.Error() + ": " + e.Code + ": " + e.Message
}

// Is reports whether target is ErrRemote.
func (e *RemoteError) Is(target error) bool {
	return target == ErrRemote
}
