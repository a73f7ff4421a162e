package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

func (s *Server) registerAccess(api huma.API) {
	const tag = "access"
	get(api, "/v1/bans", "bans", tag, "Who is kept away", s.node.Bans)
	post(api, operation(http.MethodPost, "/v1/ban", "ban", tag, "Keep a peer, an address or a range away, and close its connections"),
		func(_ context.Context, asked schema.BanRequest) (schema.Ban, error) { return s.node.Ban(asked.Entry) })
	post(api, operation(http.MethodPost, "/v1/unban", "unban", tag, "Let an entry of the deny list come again"),
		func(_ context.Context, asked schema.BanRequest) (schema.Ban, error) { return s.node.Unban(asked.Entry) })
}
