package wire

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// What can be wrong with a frame or a message. Compare with errors.Is: the
// errors that are returned say more, such as the offending value.
var (
	// ErrShortHeader: fewer than HeaderSize bytes.
	ErrShortHeader = errors.New("frame header is shorter than 8 bytes")
	// ErrVersion: the version byte is not Version.
	ErrVersion = errors.New("unsupported frame version")
	// ErrUnknownType: the type is none of the 53 of macula v0.20.x.
	ErrUnknownType = errors.New("unknown message type")
	// ErrTruncated: the payload is shorter than its header says.
	ErrTruncated = errors.New("truncated frame")
	// ErrTooLarge: the payload is longer than MaxPayload.
	ErrTooLarge = errors.New("payload too large")
	// ErrNoMemory: a Reader was refused the memory for a frame.
	ErrNoMemory = errors.New("no memory for a frame")
	// ErrMsgpack: the payload is not exactly one well-formed MessagePack value
	// of at most MaxDepth levels without ext types and invalid UTF-8.
	ErrMsgpack = msgpack.ErrMalformed
	// ErrNotMap: the payload is a MessagePack value, but not a map.
	ErrNotMap = fields.ErrNotMap
	// ErrMissingField: a field that the message can not do without is absent.
	ErrMissingField = fields.ErrMissing
	// ErrMistypedField: a field is of another type, or longer than its limit.
	ErrMistypedField = fields.ErrMistyped
	// ErrBadValue: a value is not one that may be stored (see ParseValue).
	ErrBadValue = errors.New("value can not be stored")
	// ErrHarmfulValue: a value may be stored, and would crash an Erlang node that
	// reads it (see HarmlessValue).
	ErrHarmfulValue = errors.New("value that crashes Erlang nodes which read it")
)

// FieldError says which field of which message is missing or mistyped. It is
// ErrMissingField or ErrMistypedField to errors.Is.
type FieldError struct {
	Type   Type   // the message
	Field  string // the field's name on the wire
	Detail string // what was found instead, for people; may be empty
	Err    error  // ErrMissingField or ErrMistypedField
}

func (e *FieldError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s: %v %q", e.Type, e.Err, e.Field)
	}
	return fmt.Sprintf("%s: %v %q: %s", e.Type, e.Err, e.Field, e.Detail)
}

func (e *FieldError) Unwrap() error { return e.Err }

// wrong is what was wrong with a message, be it nil, with the message's type.
func wrong(t Type, err error) error {
	if err == nil {
		return nil
	}
	return typed(t, err)
}

// typed is apart so that wrong is inlined.
func typed(t Type, err error) error {
	if f, ok := err.(*fields.Error); ok {
		return &FieldError{Type: t, Field: f.Field, Detail: f.Detail, Err: f.Err}
	}
	return fmt.Errorf("%s: %w", t, err)
}
