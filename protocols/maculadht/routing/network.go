package routing

import (
	"context"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Network carries messages to contacts: over libp2p to those with a peer id,
// over the Erlang transport to those with only an endpoint. What it returns
// owns its memory. Its errors are [proto.ErrUnreachable],
// [proto.ErrRefused] or [proto.ErrRemote], or those of ctx. It is safe for concurrent use.
type Network interface {
	// Send hands m to the contact and waits for no answer.
	Send(ctx context.Context, to Contact, m wire.Message) error
	// Query sends m to the contact and returns its answer. It only reads m,
	// which several queries may share, and it must return soon after ctx has
	// ended: who cancels waits for that.
	Query(ctx context.Context, to Contact, m wire.Message) (wire.Message, error)
}
