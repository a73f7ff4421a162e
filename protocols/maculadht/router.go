package maculadht

import (
	"context"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// router reaches a contact the way that it is given: by its peer id over
// /macula/dht/1.0, else by its endpoint through whoever dials those.
type router struct {
	peers     routing.Network
	endpoints routing.Network // nil where endpoints are not dialled
}

var _ routing.Network = router{}

// Send implements routing.Network.
func (r router) Send(ctx context.Context, to routing.Contact, m wire.Message) error {
	via, err := r.via(to)
	if err != nil {
		return err
	}
	return via.Send(ctx, to, m)
}

// Query implements routing.Network.
func (r router) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	via, err := r.via(to)
	if err != nil {
		return nil, err
	}
	return via.Query(ctx, to, m)
}

func (r router) via(to routing.Contact) (routing.Network, error) {
	switch {
	case !to.IsErlang():
		return r.peers, nil
	case r.endpoints != nil:
		return r.endpoints, nil
	default:
		return nil, fmt.Errorf("%w: nothing here dials %q", proto.ErrUnreachable, to.Endpoint)
	}
}
