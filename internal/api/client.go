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

// ask sends a request. The error is a *Problem where the node answered with one,
// ErrNoAnswer where it did not.
func ask[T any](ctx context.Context, c *Client, method, path string, body any) (answer T, err error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer, err
		}
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://node"+path, content)
	if err != nil {
		return answer, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return answer, fmt.Errorf("%w %s: %w", ErrNoAnswer, c.path, err)
	}
	defer resp.Body.Close()
	into := any(&answer)
	var p Problem
	if resp.StatusCode != http.StatusOK {
		into = &p
		if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
			return answer, fmt.Errorf("%s %s at %s was answered with %s", method, path, c.path, resp.Status)
		}
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return answer, fmt.Errorf("%w %s as it should: %w", ErrNoAnswer, c.path, err)
	}
	if into == any(&p) {
		return answer, &p
	}
	return answer, nil
}
