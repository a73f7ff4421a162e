// Package client asks a node by its local API, on the socket in its data directory.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

const (
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 64 << 20
	// maxEvent is how long a line of a stream may be.
	maxEvent = 16 << 20
)

// ErrNoAnswer: nobody answers on the socket.
var ErrNoAnswer = errors.New("the node does not answer on its socket")

// Client asks the node behind a socket. It holds no connection between two questions.
type Client struct {
	path string
	http http.Client
}

// New returns a client of the socket at path.
func New(path string) *Client {
	var d net.Dialer
	return &Client{path, http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}}
}

// Problem is what the API answers where it does not do what it was asked for (RFC 9457).
type Problem struct {
	Title  string `json:"title"`  // of the status
	Status int    `json:"status"` // of HTTP
	Detail string `json:"detail"` // what was wrong and what to do
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = fmt.Sprintf("%d %s", p.Status, p.Title)
	}
	for _, e := range p.Errors {
		text += ": " + e.Message
		if e.Location != "" {
			text += " (" + e.Location + ")"
		}
	}
	return text
}

// Wrong reports whether it is for the caller to ask for something else.
func (p *Problem) Wrong() bool { return p.Status >= 400 && p.Status < 500 }

// Get asks for what is at a path, such as /v1/status. The error is a *Problem where the node
// answered with one, ErrNoAnswer where it did not.
func Get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return ask[T](ctx, c, http.MethodGet, path, nil)
}

// Post asks for something to be done, with errors as of Get.
func Post[T any](ctx context.Context, c *Client, path string, question any) (T, error) {
	return ask[T](ctx, c, http.MethodPost, path, question)
}

// Status asks how the node is.
func (c *Client) Status(ctx context.Context) (schema.Status, error) {
	return Get[schema.Status](ctx, c, "/v1/status")
}

// Backup has the node copy its data directory to dir, an absolute path at which
// nothing is yet.
func (c *Client) Backup(ctx context.Context, dir string) (schema.Backup, error) {
	return Post[schema.Backup](ctx, c, "/v1/backup", schema.BackupRequest{Dir: dir})
}

// Stored asks what the node has under a key.
func (c *Client) Stored(ctx context.Context, key []byte) (schema.Stored, error) {
	return Get[schema.Stored](ctx, c, "/v1/keys/"+hex.EncodeToString(key))
}

// Keys asks for a page of the keys that the node keeps, the first where cursor is empty.
func (c *Client) Keys(ctx context.Context, cursor string, limit int) (schema.Keys, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	return Get[schema.Keys](ctx, c, "/v1/keys?"+query.Encode())
}

// Put has the node store a value.
func (c *Client) Put(ctx context.Context, r schema.PutRequest) (schema.Put, error) {
	return Post[schema.Put](ctx, c, "/v1/put", r)
}

// Publish has the node publish a payload under a topic.
func (c *Client) Publish(ctx context.Context, topic string, payload []byte) error {
	_, err := Post[struct{}](ctx, c, "/v1/publish", schema.PublishRequest{Topic: topic, Payload: payload})
	return err
}

// Call has the node call a procedure.
func (c *Client) Call(ctx context.Context, r schema.CallRequest) (schema.CallAnswer, error) {
	return Post[schema.CallAnswer](ctx, c, "/v1/call", r)
}

// Answer answers a call that came by Serve. A *Problem says that it is over.
func (c *Client) Answer(ctx context.Context, r schema.AnswerRequest) error {
	_, err := Post[struct{}](ctx, c, "/v1/answer", r)
	return err
}

// ask sends a request and reads its answer.
func ask[T any](ctx context.Context, c *Client, method, path string, body any) (answer T, err error) {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("%w %s as it should: %w", ErrNoAnswer, c.path, err)
	}
	return answer, nil
}

// send sends a request, with a body unless that is nil, and returns an answer that is no
// problem.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://node"+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrNoAnswer, c.path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		return nil, fmt.Errorf("%s %s at %s was answered with %s", method, path, c.path, resp.Status)
	}
	var p Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&p); err != nil {
		return nil, fmt.Errorf("%w %s as it should: %w", ErrNoAnswer, c.path, err)
	}
	return nil, &p
}

// Event is one of a stream.
type Event struct {
	Kind string
	Data []byte // JSON
}

// Stream yields the events of a stream, from when begun is called, until ctx ends. An error
// comes last: a *Problem, or ErrNoAnswer where the node has ended.
func (c *Client) Stream(ctx context.Context, method, path string, body any, begun func()) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		resp, err := c.send(ctx, method, path, body)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer resp.Body.Close()
		if begun != nil {
			begun()
		}
		err = readEvents(resp.Body, func(e Event) bool { return yield(e, nil) })
		if err != nil && ctx.Err() == nil {
			yield(Event{}, fmt.Errorf("%w %s any more: %w", ErrNoAnswer, c.path, err))
		}
	}
}

// readEvents reads server-sent events until each returns false, for which the error is nil,
// or the stream ends.
func readEvents(from io.Reader, each func(Event) bool) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 4<<10), maxEvent)
	var e Event
	for lines.Scan() {
		line := lines.Bytes()
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0:
			if len(e.Data) > 0 && !each(e) {
				return nil
			}
			e = Event{}
		case string(name) == "event":
			e.Kind = string(value)
		case string(name) == "data":
			if len(e.Data) > 0 {
				e.Data = append(e.Data, '\n')
			}
			e.Data = append(e.Data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

// follow is Stream with the data of the events read.
func follow[T any](ctx context.Context, c *Client, path string, begun func()) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for e, err := range c.Stream(ctx, http.MethodGet, path, nil, begun) {
			var v T
			if err == nil {
				if err = json.Unmarshal(e.Data, &v); err != nil {
					err = fmt.Errorf("%w %s as it should: %w", ErrNoAnswer, c.path, err)
				}
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Subscribe yields what is published under a pattern, as Stream does.
func (c *Client) Subscribe(ctx context.Context, pattern string, begun func()) iter.Seq2[schema.Published, error] {
	return follow[schema.Published](ctx, c, "/v1/subscribe?"+url.Values{"pattern": {pattern}}.Encode(), begun)
}

// Watch yields what happens to the records of a key, first those that there are, as Stream
// does.
func (c *Client) Watch(ctx context.Context, key []byte, begun func()) iter.Seq2[schema.Watched, error] {
	return follow[schema.Watched](ctx, c, "/v1/watch/"+hex.EncodeToString(key), begun)
}

// Events yields what happens to the node, as Stream does.
func (c *Client) Events(ctx context.Context, begun func()) iter.Seq2[schema.Event, error] {
	return follow[schema.Event](ctx, c, "/v1/events", begun)
}

// Serve has the node serve a procedure, and hands what comes to f, first that it is
// served, until ctx ends or the node does.
func (c *Client) Serve(ctx context.Context, r schema.ServeRequest, f func(schema.ServedCall)) error {
	for e, err := range c.Stream(ctx, http.MethodPost, "/v1/serve", r, nil) {
		if err != nil {
			return err
		}
		var call schema.ServedCall
		if err := json.Unmarshal(e.Data, &call); err != nil {
			return fmt.Errorf("%w %s as it should: %w", ErrNoAnswer, c.path, err)
		}
		f(call)
	}
	return context.Cause(ctx)
}

// Lookup has the node find the values of a key, and tells what it does: asked and hop may be
// nil.
func (c *Client) Lookup(ctx context.Context, key []byte, asked func(schema.Asked), hop func(schema.Hop)) (result schema.Looked, err error) {
	for e, err := range c.Stream(ctx, http.MethodGet, "/v1/lookup/"+hex.EncodeToString(key), nil, nil) {
		if err == nil {
			switch e.Kind {
			case "asked":
				err = tell(e.Data, asked)
			case "answered":
				err = tell(e.Data, hop)
			case "result":
				err = json.Unmarshal(e.Data, &result)
				return result, err
			}
		}
		if err != nil {
			return result, err
		}
	}
	return result, context.Cause(ctx)
}

func tell[T any](data []byte, to func(T)) error {
	var v T
	if to == nil {
		return nil
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	to(v)
	return nil
}
