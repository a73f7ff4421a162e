package node

import (
	"context"
	"iter"

	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// openTopics has the node take part in topics, and watch keys: those too that Erlang nodes
// ask for.
func (n *Node) openTopics() (err error) {
	if n.topics, err = pubsub.New(n.service, pubsub.WithLimits(n.cfg.Parts.Topics), pubsub.WithLogger(n.cfg.log("pubsub")), pubsub.WithMetricsTracer(n.metrics.Topics)); err != nil {
		return err
	}
	if n.watcher, err = watch.New(n.service, n.topics, watch.WithLimits(n.cfg.Parts.Watches)); err != nil {
		return err
	}
	n.service.SetFollower(n.watcher)
	return nil
}

// Topics returns what publishes and subscribes.
func (n *Node) Topics() *pubsub.Topics { return n.topics }

// Watch yields what happens to the records of a key; see [watch.Watcher.Watch].
func (n *Node) Watch(ctx context.Context, key []byte) iter.Seq2[watch.Event, error] {
	return n.watcher.Watch(ctx, key)
}
