package wire

import "github.com/macula-mesh/macula-node/compat/wire/internal/fields"

// Opaque is a message of a type that has no struct of its own; its fields are
// read by name.
type Opaque struct {
	MessageType Type
	Fields      Raw // the payload, a map
}

// Type returns MessageType.
func (m *Opaque) Type() Type { return m.MessageType }

// AppendPayload implements Message.
func (m *Opaque) AppendPayload(b []byte) []byte {
	if len(m.Fields) == 0 {
		return append(b, 0x80)
	}
	return append(b, m.Fields...)
}

// Decode keeps the payload, whose memory the message shares, after it is seen
// to be a well-formed map.
func (m *Opaque) Decode(b []byte) error {
	c := fields.Decode(b)
	for c.Pass() { // every field is unknown
	}
	if err := FieldErrorOf(m.MessageType, c.Done()); err != nil {
		return err
	}
	m.Fields = b
	return nil
}

// Field returns the value of the named field.
func (m *Opaque) Field(name string) (Raw, bool) { return m.Fields.Field(name) }
