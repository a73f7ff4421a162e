package values

import (
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Limits of a stored value (docs/PROTOCOL.md, names and limits).
const (
	// MaxSize is the longest value, in bytes of MessagePack.
	MaxSize = 64 << 10
	// MaxDepth is how many maps and arrays a value may nest: two fewer
	// than a payload, as the reply that carries it adds two.
	MaxDepth = msgpack.MaxValueDepth
	// MaxTTL is the longest life of a value, and that of one without ttl.
	MaxTTL = 86_400 * time.Second
)

// What can be wrong with a value. Compare with errors.Is.
var (
	// ErrBad: a value is not one that may be stored (see Parse).
	ErrBad = errors.New("value can not be stored")
	// ErrHarmful: a value may be stored, and would crash an Erlang node that reads it
	// (see Harmless).
	ErrHarmful = errors.New("value that crashes Erlang nodes which read it")
)

// Value is a value that may be stored, with what the DHT reads of it.
type Value struct {
	Raw    wire.Raw
	NodeID []byte        // the provider; nil where the value names none
	TTL    time.Duration // 1 s to MaxTTL
}

// Parse checks a value against docs/PROTOCOL.md: a map of at most MaxSize bytes
// and MaxDepth levels, without ext types and invalid UTF-8; node_id and
// endpoint, where they are there, bin or str of at most wire.MaxField bytes; ttl,
// where it is there, a positive integer (see [wire.Raw.Whole]). The result shares raw's memory. What
// is wrong is told in an ErrBad.
func Parse(raw wire.Raw) (Value, error) {
	if len(raw) > MaxSize {
		return Value{}, fmt.Errorf("%w: %d bytes, limit %d", ErrBad, len(raw), MaxSize)
	}
	if kind := raw.Kind(); kind != wire.Map {
		return Value{}, fmt.Errorf("%w: a %s instead of a map", ErrBad, kind)
	}
	if err := raw.Check(MaxDepth); err != nil {
		return Value{}, fmt.Errorf("%w: %w", ErrBad, err)
	}
	v := Value{Raw: raw, TTL: MaxTTL}
	var nodeID, endpoint, ttl wire.Raw // the last of each counts
	for key, field := range raw.Fields() {
		name, _ := key.Bytes()
		switch string(name) {
		case "node_id":
			nodeID = field
		case "endpoint":
			endpoint = field
		case "ttl":
			ttl = field
		}
	}
	if nodeID != nil {
		id, ok := nodeID.Bytes()
		if !ok || len(id) > wire.MaxField {
			return Value{}, badField("node_id", nodeID, "bin or str of at most 255 bytes")
		}
		v.NodeID = id
	}
	if endpoint != nil {
		if text, ok := endpoint.Bytes(); !ok || len(text) > wire.MaxField {
			return Value{}, badField("endpoint", endpoint, "bin or str of at most 255 bytes")
		}
	}
	if ttl != nil {
		seconds, ok := ttl.Whole()
		if !ok || seconds <= 0 {
			return Value{}, badField("ttl", ttl, "a positive number of whole seconds")
		}
		v.TTL = min(wire.Seconds(seconds), MaxTTL)
	}
	return v, nil
}

func badField(name string, found wire.Raw, want string) error {
	return fmt.Errorf("%w: %s is not %s but of the type %s", ErrBad, name, want, found.Kind())
}
