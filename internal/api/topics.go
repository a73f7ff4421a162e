package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
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
	c := http.NewResponseController(w)
	if err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{})); err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	lines := json.NewEncoder(w)
	for err := c.Flush(); err == nil; err = c.Flush() {
		m, next := sub.Next(r.Context())
		if next != nil || lines.Encode(Published{m.Topic, m.Value}) != nil {
			break
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
	return func(yield func(Published, error) bool) {
		fail := func(err error) { yield(Published{}, err) }
		const path = "/v1/subscribe"
		resp, err := c.send(ctx, http.MethodGet, path+"?pattern="+url.QueryEscape(pattern), nil)
		if err != nil {
			fail(err)
			return
		}
		defer resp.Body.Close()
		if err := problemIn(resp, http.MethodGet, path, c.path); err != nil {
			fail(err)
			return
		}
		subscribed()
		lines := json.NewDecoder(resp.Body)
		for {
			var line struct {
				Topic string          `json:"topic"`
				Value json.RawMessage `json:"value"`
			}
			err := lines.Decode(&line)
			p := Published{Topic: line.Topic}
			if err == nil {
				p.Value, err = wire.FromJSON(line.Value)
			}
			if err != nil {
				if ctx.Err() == nil {
					fail(fmt.Errorf("%w %s any more: %w", ErrNoAnswer, c.path, err))
				}
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}
