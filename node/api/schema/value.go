package schema

import (
	"bytes"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Value is a value of Macula's dialect of MessagePack, in JSON what [wire.Raw] makes of it
// and [wire.FromJSON] reads: bytes that are no text are {"$bin": "<hex>"}. Without any it is
// null.
type Value struct{ wire.Raw }

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) {
	if len(v.Raw) == 0 {
		return []byte("null"), nil
	}
	return v.Raw.MarshalJSON()
}

// UnmarshalJSON implements json.Unmarshaler: what can not be written in the dialect is an
// error that says so.
func (v *Value) UnmarshalJSON(text []byte) (err error) {
	v.Raw, err = wire.FromJSON(bytes.Clone(text))
	return err
}

// Schema implements huma.SchemaProvider: it is any JSON.
func (Value) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: `Any JSON; bytes that are no text are {"$bin": "<hex>"}.`}
}
