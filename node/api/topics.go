package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

func (s *Server) registerTopics(api huma.API) {
	const tag = "topics"
	post(api, operation(http.MethodPost, "/v1/publish", "publish", tag, "Publish under a topic", http.StatusTooManyRequests),
		func(ctx context.Context, asked schema.PublishRequest) (struct{}, error) {
			return struct{}{}, s.node.Publish(ctx, asked.Topic, asked.Payload)
		})

	op := operation(http.MethodGet, "/v1/subscribe", "subscribe", tag, "What is published under a pattern, until the reader leaves", http.StatusTooManyRequests)
	op.Responses = events(api, event{"message", schema.Published{}})
	huma.Register(api, op, s.subscribe)

	op = operation(http.MethodGet, "/v1/watch/{key}", "watch", tag, "What happens to the values of a key anywhere, until the reader leaves", http.StatusTooManyRequests)
	op.Responses = events(api, event{"change", schema.Watched{}})
	huma.Register(api, op, s.watch)
}

// subscription is a request for what is published.
type subscription struct {
	Pattern string `query:"pattern" required:"true" doc:"segments lie between '.'; * is any one, ** any number of them"`
}

func (s *Server) subscribe(ctx context.Context, asked *subscription) (*huma.StreamResponse, error) {
	leave, err := stay(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := s.node.Subscribe(ctx, asked.Pattern)
	if err != nil {
		leave()
		return nil, problemOf(err)
	}
	end := func() {
		sub.Close()
		leave()
	}
	return streamed(end, func(ctx context.Context, out *stream) {
		for {
			m, err := sub.Next(ctx)
			if err != nil || out.say("message", schema.Published{Topic: m.Topic, Value: schema.Value{Raw: m.Value}}) != nil {
				return
			}
		}
	}), nil
}

func (s *Server) watch(ctx context.Context, asked *keyed) (*huma.StreamResponse, error) {
	key, err := keyOf(asked.Key)
	if err != nil {
		return nil, err
	}
	leave, err := stay(ctx)
	if err != nil {
		return nil, err
	}
	return streamed(leave, func(ctx context.Context, out *stream) {
		for e, err := range s.node.Watch(ctx, key) {
			if err != nil || out.say("change", schema.Watched{
				Event: string(e.Kind), Value: schema.Value{Raw: e.Value.Raw}, Proved: e.Value.Proof != nil,
				ExpiresIn: max(int64(time.Until(e.Value.Expires)/time.Second), 0),
			}) != nil {
				return
			}
		}
	}), nil
}
