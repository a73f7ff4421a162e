// Package outcome has what comes of a call: its result, or the error that a caller is told.
package outcome

import (
	"fmt"
	"strings"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/rpc/internal/payload"
)

// Outcome is what came of a call: an error, or else a result.
type Outcome struct {
	Result payload.Payload
	Err    *wire.CallError
	Frame  []byte // the answer as it came, of an RPC_REQUEST that was passed on as it came
}

// What ends calls that nobody has answered.
var (
	Busy    = &wire.CallError{Code: wire.CodeBusy, Message: "Too many calls are under way, call again later"}
	GaveWay = &wire.CallError{Code: wire.CodeBusy, Message: "Too many calls are under way, and most of them are of your network: call again later"}
	Late    = &wire.CallError{Code: wire.CodeTimeout, Message: "The procedure was not answered in time"}
	Closing = &wire.CallError{Code: wire.CodeClosed, Message: "This node serves calls no longer"}
	Gone    = &wire.CallError{Code: wire.CodeProviderGone, Message: "The connection to the provider ended before it answered"}
	NoRoom  = &wire.CallError{Code: wire.CodeBusy, Message: "The provider takes what it is sent too slowly"}
)

// Of is an error that ends a call.
func Of(err *wire.CallError) Outcome { return Outcome{Err: err} }

// Failed is an error of a code, with a text for who reads it.
func Failed(code, format string, args ...any) Outcome {
	return Of(&wire.CallError{Code: code, Message: fmt.Sprintf(format, args...)})
}

// IsNotServed reports whether it is that who was asked does not serve the procedure, or not
// for the node that was named: another may.
func (o Outcome) IsNotServed() bool {
	if o.Err == nil {
		return false
	}
	switch o.Err.Code {
	case wire.ErrorProcedureNotFound, wire.ErrorTargetNotFound, wire.ErrorNoHandler, wire.CodeNotRouted:
		return true
	}
	return false
}

// In returns the outcome with its result in a form, or why it has none.
func (o Outcome) In(form func(payload.Payload) (wire.Raw, error)) (wire.Raw, *wire.CallError) {
	if o.Err != nil {
		return nil, o.Err
	}
	raw, err := form(o.Result)
	if err != nil {
		return nil, Failed(wire.CodeHandlerError, "The result can not be passed on: %v", err).Err
	}
	if len(raw) > maxPayload {
		return nil, Failed(wire.CodeTooLarge, "The result has %d bytes, limit %d", len(raw), maxPayload).Err
	}
	return raw, nil
}

// maxPayload is how long a result may be, so that a frame has room for it.
const maxPayload = wire.MaxPayload - 4<<10

// ErrorOf returns the error of an RPC_REPLY, a word or a text of many lines.
func ErrorOf(text string) *wire.CallError {
	if text == "" {
		text = "The provider said no reason that can be read"
	}
	e := &wire.CallError{Code: wire.CodeHandlerError, Message: Shorten(text)}
	if isWord(text) {
		e.Code = text
	}
	return e
}

// isWord reports whether a text is one of those that name an error.
func isWord(text string) bool {
	for _, b := range []byte(text) {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '_' {
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// MaxMessage is how long an error may be that a caller is told, in bytes.
const MaxMessage = 4 << 10

// Shorten returns at most MaxMessage bytes of a text, valid UTF-8.
func Shorten(text string) string {
	if len(text) > MaxMessage {
		text = text[:MaxMessage]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
