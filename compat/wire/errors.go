package wire

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// What can be wrong with a message. Compare with errors.Is: the errors that are
// returned say more, such as the offending value.
var (
	// ErrUnknownType: the type is none of the 54.
	ErrUnknownType = errors.New("unknown message type")
	// ErrMsgpack: the payload is not exactly one well-formed MessagePack value
	// of at most MaxDepth levels without ext types and invalid UTF-8.
	ErrMsgpack = msgpack.ErrMalformed
	// ErrNotMap: the payload is a MessagePack value, but not a map.
	ErrNotMap = fields.ErrNotMap
	// ErrMissingField: a field that the message can not do without is absent.
	ErrMissingField = fields.ErrMissing
	// ErrMistypedField: a field is of another type, or longer than its limit.
	ErrMistypedField = fields.ErrMistyped
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

// FieldErrorOf is what a codec of internal/fields found wrong with a message of type t,
// a *FieldError where a field was; nil for nil.
func FieldErrorOf(t Type, err error) error {
	if err == nil {
		return nil
	}
	return typed(t, err)
}

// typed is apart so that FieldErrorOf is inlined.
func typed(t Type, err error) error {
	if f, ok := err.(*fields.Error); ok {
		return &FieldError{Type: t, Field: f.Field, Detail: f.Detail, Err: f.Err}
	}
	return fmt.Errorf("%s: %w", t, err)
}
