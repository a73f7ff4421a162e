// Package harmless says which frames of calls an Erlang node survives.
package harmless

import (
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Check returns why an Erlang node might not survive an RPC_REQUEST or RPC_REPLY:
// one of its fields is of another type than it takes for granted, or one that it needs
// is missing (docs/WIRE.md).
func Check(raw wire.Raw, needs ...string) error {
	if err := raw.Check(wire.MaxDepth); err != nil {
		return err
	}
	for key, v := range raw.Fields() {
		name, _ := key.Bytes()
		want := wire.Invalid
		switch string(name) {
		case "type", "request_id", "procedure", "from_node", "to_node", "target_node", "from_endpoint", "realm":
			want = wire.Bin
		case "timestamp":
			want = wire.Int
		}
		switch kind := v.Kind(); {
		case key.Kind() != wire.Bin:
			return fmt.Errorf("a key is of the type %s, want bin", key.Kind())
		case want != wire.Invalid && kind != want:
			return fmt.Errorf("%s is of the type %s, want %s", name, kind, want)
		}
	}
	for _, name := range needs {
		if _, there := raw.Field(name); !there {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}
