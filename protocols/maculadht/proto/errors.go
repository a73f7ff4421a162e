package proto

import (
	"errors"
	"fmt"
	"strings"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Errors of this side.
var (
	// ErrNoEndpoint: a node is given by nothing that could be dialled.
	ErrNoEndpoint = errors.New("node has neither endpoint, address nor peer id")
	// ErrNoConnection: there is no session with a bootstrap gateway.
	ErrNoConnection = errors.New("no connection to a bootstrap gateway")
	// ErrNoNetwork: the handlers were given no network to ask through.
	ErrNoNetwork = errors.New("no network")
	// ErrInvalidRequest: a message that the peer could only refuse was not
	// sent.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrClosed: what was to be used is closed.
	ErrClosed = errors.New("closed")
)

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
	// ErrRealmMismatch means that the contact serves another realm; its text names
	// both. It is an ErrRefused too.
	ErrRealmMismatch = errors.New(wire.ReasonRealmMismatch)
	// ErrRemote means that the contact answered with an error; the error is a
	// [*RemoteError].
	ErrRemote = errors.New("the peer answered with an error")
)

// IsClock reports whether a connection failed because the certificate at its other end is
// not valid at the time of this machine's clock: libp2p's are from an hour before they
// were made. One of the clocks is wrong by more than that.
func IsClock(err error) bool {
	// Libp2p makes text of x509's error.
	return err != nil && strings.Contains(err.Error(), "certificate has expired or is not yet valid")
}

// RefusedError is an [ErrRefused] with its reason, such as "realm_mismatch".
type RefusedError struct {
	Reason string
}

// Error names the reason.
func (e *RefusedError) Error() string {
	return ErrRefused.Error() + ": " + e.Reason
}

// Is reports whether target is ErrRefused, or the ErrRealmMismatch that the reason
// names.
func (e *RefusedError) Is(target error) bool {
	return target == ErrRefused || target == ErrRealmMismatch && strings.HasPrefix(e.Reason, wire.ReasonRealmMismatch)
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

// Is reports whether target is ErrRemote, or the ErrConnectFirst that the code names.
func (e *RemoteError) Is(target error) bool {
	return target == ErrRemote || target == ErrConnectFirst && e.Code == wire.CodeConnectFirst
}
