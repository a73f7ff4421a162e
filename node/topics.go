package node

import (
	"context"

	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

// Publish implements api.Node.
func (l local) Publish(ctx context.Context, topic string, payload []byte) error {
	return l.topics.Publish(ctx, topic, payload)
}

// Subscribe implements api.Node.
func (l local) Subscribe(ctx context.Context, pattern string) (*pubsub.Subscription, error) {
	return l.topics.Subscribe(ctx, pattern)
}
