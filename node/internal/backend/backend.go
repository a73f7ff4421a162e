// Package backend answers what a node's local API asks, from the node's parts: who is known
// and connected, what is stored, what happens, and who is kept away.
package backend

import (
	"context"
	"log/slog"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/internal/access"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// Parts are those of a node that a Backend tells of.
type Parts struct {
	Host    host.Host // without routing
	Service *maculadht.Service
	Store   *Store // of the service's records
	Uplinks *uplink.Uplinks
	Topics  *pubsub.Topics
	Watcher *watch.Watcher
	Calls   *rpc.Calls
	Lists   *access.Lists // nil where nobody can be banned
	Version string
	// Hostname is what the configuration says that peers are told; empty where it does not.
	Hostname string
	// Endpoints returns those of the node, the one that Erlang nodes are told first.
	Endpoints func() []string
	// Status returns how the node is.
	Status func() schema.Status
	// Refused counts what the node has refused.
	Refused func() schema.Refused
	// CloseRefused closes the connections of who may not come, and returns how many.
	CloseRefused func() int
	Log          *slog.Logger
}

// Backend tells of a node and acts on it, and keeps what it did in the last 15 minutes; close
// it before its parts.
type Backend struct {
	Parts
	hub        hub
	history    history
	advertised advertised
	stop       context.CancelFunc
	watch      sync.WaitGroup
}

// New returns the backend of a node.
func New(p Parts) (*Backend, error) {
	b := &Backend{Parts: p}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	if err := b.watchAll(ctx); err != nil {
		b.stop()
		return nil, err
	}
	b.watch.Go(func() { b.sampleAll(ctx) })
	return b, nil
}

// Close ends what watches for events, and what counts them.
func (b *Backend) Close() error {
	b.stop()
	b.watch.Wait()
	return nil
}
