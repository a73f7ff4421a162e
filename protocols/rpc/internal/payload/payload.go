// Package payload has the args and results of calls in the forms in which they travel:
// MessagePack in a CALL, a JSON text in an RPC_REQUEST and in an RPC_ROUTE.
package payload

import (
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Payload is the args or the result of a call, as MessagePack or as a JSON text in a
// bin. The zero Payload is nothing.
type Payload struct {
	raw  wire.Raw
	json bool
}

// OfValue is what a CALL or a program gives.
func OfValue(raw wire.Raw) Payload { return Payload{raw: raw} }

// OfText is what an RPC_REQUEST, an RPC_ROUTE or their answers hold: a text is JSON
// there.
func OfText(raw wire.Raw) Payload { return Payload{raw: raw, json: isText(raw)} }

func isText(raw wire.Raw) bool {
	kind := raw.Kind()
	return kind == wire.Bin || kind == wire.Text
}

// null is what stands for nothing.
var null = wire.RawArray(nil)[1:]

// Value returns it as MessagePack. A text that is no JSON is that text.
func (p Payload) Value() (wire.Raw, error) {
	v := p.raw
	if len(v) == 0 {
		return null, nil
	}
	if p.json {
		text, _ := p.raw.Bytes()
		if read, err := wire.FromJSON(text); err == nil {
			v = read
		}
	}
	return v, v.Check(msgpack.MaxValueDepth)
}

// Text returns it as a bin with its JSON.
func (p Payload) Text() (wire.Raw, error) {
	switch {
	case p.json && p.raw.Kind() == wire.Bin:
		return p.raw, nil
	case p.json:
		text, _ := p.raw.Bytes()
		return wire.RawBytes(text), nil
	case len(p.raw) == 0:
		return wire.RawText("null"), nil
	}
	if err := p.raw.Check(msgpack.MaxValueDepth); err != nil {
		return nil, err
	}
	text, err := p.raw.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	return wire.RawBytes(text), nil
}

// Routed returns it as it goes from node to node: MessagePack, or a JSON text where a
// text would be taken for one.
func (p Payload) Routed() (wire.Raw, error) {
	if p.json || isText(p.raw) {
		return p.Text()
	}
	return p.Value()
}

// IDOf gives a call's id back, or what the reference says where there is none.
func IDOf(id []byte) []byte {
	if id == nil {
		return []byte(wire.UndefinedID)
	}
	return id
}

// Broken returns the error of decoding a frame, unless it is about a field, which is for
// the frame's reader to answer.
func Broken(err error) (field *wire.FieldError, fatal error) {
	if field, ok := errors.AsType[*wire.FieldError](err); ok {
		return field, nil
	}
	return nil, err
}
