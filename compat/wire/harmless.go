package wire

import (
	"fmt"
	"unicode/utf8"
)

// minNodeID is how long the node id of a record must be, in bytes, for an Erlang
// node to survive it.
const minNodeID = 32

// HarmlessValue returns nil for a value that an Erlang node survives reading, from
// under a topic's key or a service's (docs/WIRE.md, records that crash it later): a
// map whose keys are bin, texts of at most MaxField bytes, with a node_id that is a
// bin of at least 32 bytes and, where they are there, endpoint, subscriber_did and
// ucan_token that are bin. The error is an ErrHarmfulValue that names what is wrong.
// What [ParseValue] refuses is not looked for.
func HarmlessValue(raw Raw) error {
	harmful := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrHarmfulValue, fmt.Sprintf(format, args...))
	}
	if kind := raw.Kind(); kind != Map {
		return harmful("a %s instead of a map", kind)
	}
	known := false
	for key, field := range raw.Fields() {
		name, _ := key.Bytes()
		switch {
		case key.Kind() != Bin:
			return harmful("a key that is a %s instead of bin", key.Kind())
		case len(name) > MaxField:
			return harmful("a key of %d bytes, at most %d", len(name), MaxField)
		case !utf8.Valid(name):
			return harmful("a key that is no text")
		}
		switch string(name) {
		case "node_id":
			id, _ := field.Bytes()
			if field.Kind() != Bin || len(id) < minNodeID {
				return harmful("node_id is a %s of %d bytes instead of a bin of at least %d, such as 64 hexadecimal digits", field.Kind(), len(id), minNodeID)
			}
			known = true
		case "endpoint", "subscriber_did", "ucan_token":
			if field.Kind() != Bin {
				return harmful("%s is a %s instead of bin", name, field.Kind())
			}
		}
	}
	if !known {
		return harmful("node_id is missing")
	}
	return nil
}
