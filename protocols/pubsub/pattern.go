package pubsub

import (
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/trie"
)

// checkPattern returns nil for a pattern that may be subscribed to.
func checkPattern(pattern string) error {
	err := checkName("pattern", pattern)
	if why := trie.Check(pattern); err == nil && why != nil {
		err = fmt.Errorf("%w: %w", proto.ErrInvalidRequest, why)
	}
	return err
}

// checkName returns nil for a topic or a pattern of which there may be one.
func checkName(what, name string) error {
	if name == "" || len(name) > wire.MaxField {
		return fmt.Errorf("%w: %s of %d bytes, want 1 to %d", proto.ErrInvalidRequest, what, len(name), wire.MaxField)
	}
	return nil
}
