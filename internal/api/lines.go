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
)

// lines begins an answer of JSON values, one a line, and returns what says them. It lasts
// until the caller leaves, or the server ends.
func lines(w http.ResponseWriter) (say func(v any) error, err error) {
	c := http.NewResponseController(w)
	if err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{})); err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := json.NewEncoder(w)
	return func(v any) error { return errors.Join(out.Encode(v), c.Flush()) }, c.Flush()
}

// follow yields the lines of an answer, as read reads them, from when begun is called,
// until ctx ends. An error comes last: a *Problem, or ErrNoAnswer where the node has ended.
func follow[T any](ctx context.Context, c *Client, path string, query url.Values, begun func(), read func(line []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		resp, err := c.send(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		if err := problemIn(resp, http.MethodGet, path, c.path); err != nil {
			yield(none, err)
			return
		}
		begun()
		for in := json.NewDecoder(resp.Body); ; {
			var line json.RawMessage
			err := in.Decode(&line)
			v := none
			if err == nil {
				v, err = read(line)
			}
			if err != nil {
				if ctx.Err() == nil {
					yield(none, fmt.Errorf("%w %s any more: %w", ErrNoAnswer, c.path, err))
				}
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}
