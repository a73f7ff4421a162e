package api

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

// PublishRequest asks for a payload to be published.
type PublishRequest struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload"` // in base64
}

// Published is what was published: its value is what package wire makes of it in JSON.
type Published struct {
	Topic string   `json:"topic"`
	Value wire.Raw `json:"value"`
}

func (s *Server) publish(_ http.ResponseWriter, r *http.Request) (any, error) {
	var asked PublishRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	return struct{}{}, s.node.Publish(r.Context(), asked.Topic, asked.Payload)
}

// subscribe writes what is published until the caller leaves, or the server ends.
func (s *Server) subscribe(w http.ResponseWriter, r *http.Request) (any, error) {
	leave, err := s.stay()
	if err != nil {
		return nil, err
	}
	defer leave()
	sub, err := s.node.Subscribe(r.Context(), r.URL.Query().Get("pattern"))
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	say, err := lines(w)
	for err == nil {
		var m pubsub.Message
		if m, err = sub.Next(r.Context()); err == nil {
			err = say(Published{m.Topic, m.Value})
		}
	}
	return nil, nil
}

// Publish has the node publish a payload under a topic.
func (c *Client) Publish(ctx context.Context, topic string, payload []byte) error {
	_, err := ask[struct{}](ctx, c, http.MethodPost, "/v1/publish", PublishRequest{topic, payload})
	return err
}

// Subscribe yields what is published under a pattern, from when subscribed is called, until
// ctx ends. An error comes last: a *Problem, or ErrNoAnswer where the node has ended.
func (c *Client) Subscribe(ctx context.Context, pattern string, subscribed func()) iter.Seq2[Published, error] {
	return follow(ctx, c, "/v1/subscribe", url.Values{"pattern": {pattern}}, subscribed, func(line []byte) (p Published, err error) {
		var read struct {
			Topic string          `json:"topic"`
			Value json.RawMessage `json:"value"`
		}
		if err = json.Unmarshal(line, &read); err == nil {
			p.Topic = read.Topic
			p.Value, err = wire.FromJSON(read.Value)
		}
		return p, err
	})
}
