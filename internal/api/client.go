package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxAnswer is how much of an answer is read.
const maxAnswer = 16 << 20

// ErrNoAnswer: nobody answers on the socket.
var ErrNoAnswer = errors.New("the node does not answer on its socket")

// Client asks the node behind a socket. It holds no connection between two questions.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client of the socket at path.
func NewClient(path string) *Client {
	var d net.Dialer
	return &Client{path, http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}}
}

// Status asks how the node is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Backup has the node copy its data directory to dir, an absolute path at which
// nothing is yet.
func (c *Client) Backup(ctx context.Context, dir string) (Backup, error) {
	return ask[Backup](ctx, c, http.MethodPost, "/v1/backup", BackupRequest{dir})
}

// Call has the node call a procedure.
func (c *Client) Call(ctx context.Context, r CallRequest) (CallAnswer, error) {
	return ask[CallAnswer](ctx, c, http.MethodPost, "/v1/call", r)
}

// Answer answers a call that came by Serve. A *Problem says that it is over.
func (c *Client) Answer(ctx context.Context, r AnswerRequest) error {
	_, err := ask[struct{}](ctx, c, http.MethodPost, "/v1/answer", r)
	return err
}

// Serve has the node serve a procedure, and hands what comes to f, first that it is
// served, until ctx ends or the node does.
func (c *Client) Serve(ctx context.Context, r ServeRequest, f func(ServedCall)) error {
	resp, err := c.send(ctx, http.MethodPost, "/v1/serve", r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := problemIn(resp, http.MethodPost, "/v1/serve", c.path); err != nil {
		return err
	}
	for dec := json.NewDecoder(resp.Body); ; {
		var call ServedCall
		if err := dec.Decode(&call); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%w %s any more: %w", ErrNoAnswer, c.path, err)
		}
		f(call)
	}
}

// ask sends a request. The error is a *Problem where the node answered with one,
// ErrNoAnswer where it did not.
func ask[T any](ctx context.Context, c *Client, method, path string, body any) (answer T, err error) {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if err := problemIn(resp, method, path, c.path); err != nil {
		return answer, err
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("%w %s as it should: %w", ErrNoAnswer, c.path, err)
	}
	return answer, nil
}

// send sends a request, with a body unless that is nil.
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
	return resp, nil
}

// problemIn returns the *Problem that an answer is, nil for another one.
func problemIn(resp *http.Response, method, path, socket string) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		return fmt.Errorf("%s %s at %s was answered with %s", method, path, socket, resp.Status)
	}
	var p Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&p); err != nil {
		return fmt.Errorf("%w %s as it should: %w", ErrNoAnswer, socket, err)
	}
	return &p
}
