package backend

import (
	"context"
	"iter"

	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// Publish implements api.Topics.
func (b *Backend) Publish(ctx context.Context, topic string, payload []byte) error {
	return b.Topics.Publish(ctx, topic, payload)
}

// Subscribe implements api.Topics.
func (b *Backend) Subscribe(ctx context.Context, pattern string) (*pubsub.Subscription, error) {
	return b.Topics.Subscribe(ctx, pattern)
}

// Watch implements api.Topics.
func (b *Backend) Watch(ctx context.Context, key []byte) iter.Seq2[watch.Event, error] {
	return b.Watcher.Watch(ctx, key)
}
