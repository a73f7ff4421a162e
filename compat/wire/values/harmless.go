package values

import (
	"fmt"
	"unicode/utf8"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// minNodeID is how long the node id of a record must be, in bytes, for an Erlang
// node to survive it.
const minNodeID = 32

// Harmless returns nil for a value that an Erlang node survives reading, from
// under a topic's key or a service's (docs/WIRE.md, records that crash it later): a
// map whose keys are bin, texts of at most wire.MaxField bytes, with a node_id that is a
// bin of at least 32 bytes and, where they are there, endpoint, subscriber_did and
// ucan_token that are bin. The error is an ErrHarmful that names what is wrong.
// What [Parse] refuses is not looked for.
func Harmless(raw wire.Raw) error {
	head, err := msgpack.Scan(raw)
	if err != nil || head.Kind != wire.Map {
		return harmful("it is of the type %s, want map", raw.Kind())
	}
	known := false
	rest := raw[head.Head:]
	for range head.Size / 2 {
		key, n, err := msgpack.Next(rest, MaxDepth, true)
		if err != nil {
			return harmful("a key that is damaged")
		}
		name := rest[key.Head:n]
		rest = rest[n:]
		field, n, err := msgpack.Next(rest, MaxDepth, true)
		if err != nil {
			return harmful("a value that is damaged")
		}
		rest = rest[n:]
		switch {
		case key.Kind != wire.Bin:
			return harmful("a key is of the type %s, want bin", key.Kind)
		case len(name) > wire.MaxField:
			return harmful("a key of %d bytes, at most %d", len(name), wire.MaxField)
		case !utf8.Valid(name):
			return harmful("a key that is no text")
		}
		switch string(name) {
		case "node_id":
			if field.Kind != wire.Bin || field.Size < minNodeID {
				return harmful("node_id is of the type %s and the length %d, want bin of at least %d bytes, such as 64 hexadecimal digits", field.Kind, field.Size, minNodeID)
			}
			known = true
		case "endpoint", "subscriber_did", "ucan_token":
			if field.Kind != wire.Bin {
				return harmful("%s is of the type %s, want bin", name, field.Kind)
			}
		}
	}
	if !known {
		return harmful("node_id is missing")
	}
	return nil
}

func harmful(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrHarmful, fmt.Sprintf(format, args...))
}
