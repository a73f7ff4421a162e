package api

import (
	"context"
	"iter"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// Node is what the API tells of and acts on. Its errors are answered by what they are: a
// proto.ErrInvalidRequest, say, is for who asked. All of it is called by several goroutines.
type Node interface {
	State
	Network
	Records
	Topics
	Calls
	Access
}

// State tells how a node is.
type State interface {
	Status() schema.Status
	Identity() schema.Identity
	Health() schema.Health
	// History tells what the node did in the last 15 minutes.
	History() schema.History
	// Events yields what happens, from when begun is called until ctx ends.
	Events(ctx context.Context, begun func()) iter.Seq[schema.Event]
	// Backup copies the data directory to dir, as backup.Make does.
	Backup(ctx context.Context, dir string) (schema.Backup, error)
}

// Network tells whom a node knows.
type Network interface {
	Peers() []schema.Peer
	Table() schema.Table
	Uplinks() []schema.Uplink
	Clients() []schema.Client
	// Lookup finds the values of a key, anywhere, and says what it does: it calls asked and
	// hop in its own goroutine. What comes to nothing is no error, but told.
	Lookup(ctx context.Context, key []byte, asked func(schema.Asked), hop func(schema.Hop)) schema.Looked
}

// Records tells what a node keeps, and has it keep more.
type Records interface {
	// Keys returns a page of the keys that begin with prefix; the cursor is empty for the
	// first.
	Keys(ctx context.Context, prefix []byte, cursor string, max int) (schema.Keys, error)
	Stored(ctx context.Context, key []byte) (schema.Stored, error)
	Put(ctx context.Context, key []byte, value wire.Raw, replicate bool) (schema.Put, error)
	Advertise(ctx context.Context, r schema.AdvertiseRequest) (schema.Advertisement, error)
	Advertisements() []schema.Advertisement
	// Withdraw ends what is advertised under a key; 0 where nothing was.
	Withdraw(ctx context.Context, key []byte) (int, error)
}

// Topics publishes and subscribes, as pubsub.Topics does, and watches, as watch.Watcher.
type Topics interface {
	Publish(ctx context.Context, topic string, payload []byte) error
	Subscribe(ctx context.Context, pattern string) (*pubsub.Subscription, error)
	Watch(ctx context.Context, key []byte) iter.Seq2[watch.Event, error]
}

// Calls calls and serves procedures.
type Calls interface {
	// Call calls a procedure. The error is a *schema.CallError where the call was made.
	Call(ctx context.Context, procedure string, args wire.Raw) (wire.Raw, error)
	// Serve has f answer the calls of a procedure until withdraw, at most atOnce at a time,
	// or, where that is 0, as many as there may be.
	Serve(ctx context.Context, procedure string, atOnce int, f func(ctx context.Context, args wire.Raw) (wire.Raw, error)) (withdraw func() error, err error)
}

// Access says who may come.
type Access interface {
	Bans() schema.Bans
	Ban(entry string) (schema.Ban, error)
	Unban(entry string) (schema.Ban, error)
}
