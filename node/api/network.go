package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

// Events of a lookup's stream.
const (
	eventAsked  = "asked"
	eventHop    = "answered"
	eventResult = "result"
)

func (s *Server) registerNetwork(api huma.API) {
	const tag = "network"
	get(api, "/v1/peers", "peers", tag, "The nodes that there is a connection to", func() schema.Peers { return schema.Peers{Peers: s.node.Peers()} })
	get(api, "/v1/table", "table", tag, "The contacts of the routing table, nearest first", s.node.Table)
	get(api, "/v1/uplinks", "uplinks", tag, "The sessions with Erlang gateways that were named", func() schema.Uplinks { return schema.Uplinks{Uplinks: s.node.Uplinks()} })
	get(api, "/v1/clients", "clients", tag, "The nodes that have CONNECTed on a stream that stays", func() schema.Clients { return schema.Clients{Clients: s.node.Clients()} })

	op := operation(http.MethodGet, "/v1/lookup/{key}", "lookup", tag, "Find the values of a key anywhere: each question, each answer, then the result", http.StatusTooManyRequests)
	op.Responses = events(api, event{eventAsked, schema.Asked{}}, event{eventHop, schema.Hop{}}, event{eventResult, schema.Looked{}})
	huma.Register(api, op, func(ctx context.Context, asked *keyed) (*huma.StreamResponse, error) {
		key, err := keyOf(asked.Key)
		if err != nil {
			return nil, err
		}
		leave, err := stay(ctx)
		if err != nil {
			return nil, err
		}
		return streamed(leave, func(ctx context.Context, out *stream) {
			_ = out.say(eventResult, s.node.Lookup(ctx, key,
				func(a schema.Asked) { _ = out.say(eventAsked, a) },
				func(h schema.Hop) { _ = out.say(eventHop, h) }))
		}), nil
	})
}
