package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// config is what all operations share. Nothing but them is served by the library: its pages
// of documentation come from elsewhere.
func config() huma.Config {
	c := huma.DefaultConfig("The local API of macula-node", "1")
	c.Info.Description = "What a node tells of itself, and what it can be asked for, on the machine that it runs on."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil // no $schema in answers
	c.RejectUnknownQueryParameters = true
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer",
		Description: "The content of api.token in the data directory: over TCP, for all that is not read, and for all where the address is no loopback address."}}
	return c
}

// answer is a body alone, as JSON.
type answer[T any] struct{ Body T }

func answered[T any](v T, err error) (*answer[T], error) {
	if err != nil {
		return nil, problemOf(err)
	}
	return &answer[T]{v}, nil
}

// question is a body alone.
type question[T any] struct{ Body T }

// keyed is a request about one key.
type keyed struct {
	Key string `path:"key" doc:"in hexadecimal" minLength:"2" maxLength:"510"`
}

func keyOf(text string) ([]byte, error) {
	key, err := hex.DecodeString(text)
	if err != nil || len(key) == 0 || len(key) > wire.MaxField {
		return nil, problem(http.StatusBadRequest, "key %q: want 1 to %d bytes in hexadecimal", text, wire.MaxField)
	}
	return key, nil
}

// refusals are the statuses of who is not let in, of what is asked in a wrong way, and of a
// node that is stopped; huma adds that of what goes wrong within.
var refusals = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusUnprocessableEntity, http.StatusServiceUnavailable}

// operation describes one; the status is that of an answer, and others are those by which it is
// refused beside those that any is.
func operation(method, path, id, tag, summary string, others ...int) huma.Operation {
	op := huma.Operation{Method: method, Path: path, OperationID: id, Tags: []string{tag}, Summary: summary,
		MaxBodyBytes: maxBody, BodyReadTimeout: -1, DefaultStatus: http.StatusOK}
	op.Errors = slices.Concat(refusals, others)
	if method != http.MethodGet {
		op.Errors = append(op.Errors, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
		op.Security = []map[string][]string{{"token": {}}}
	}
	return op
}

// get registers what answers without a question.
func get[T any](api huma.API, path, id, tag, summary string, tell func() T) {
	huma.Register(api, operation(http.MethodGet, path, id, tag, summary), func(context.Context, *struct{}) (*answer[T], error) {
		return answered(tell(), nil)
	})
}

// post registers what acts on a body.
func post[Q, T any](api huma.API, op huma.Operation, act func(context.Context, Q) (T, error)) {
	huma.Register(api, op, func(ctx context.Context, q *question[Q]) (*answer[T], error) {
		return answered(act(ctx, q.Body))
	})
}

// register registers all operations.
func (s *Server) register(api huma.API) {
	s.registerState(api)
	s.registerNetwork(api)
	s.registerRecords(api)
	s.registerTopics(api)
	s.registerCalls(api)
	s.registerAccess(api)
}
