package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

// Watched is what happened to a record.
type Watched struct {
	Event  watch.Kind `json:"event"`
	Value  wire.Raw   `json:"value"`
	Proved bool       `json:"proved"` // to be of the node_id in it
	// ExpiresIn is how many seconds the record has left.
	ExpiresIn int64 `json:"expires_in"`
}

// watch writes what happens to the records of a key until the caller leaves.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) (any, error) {
	key, err := hex.DecodeString(r.URL.Query().Get("key"))
	if err != nil || len(key) == 0 || len(key) > wire.MaxField {
		return nil, problem(http.StatusBadRequest, "key %q: want 1 to %d bytes in hexadecimal", r.URL.Query().Get("key"), wire.MaxField)
	}
	leave, err := s.stay()
	if err != nil {
		return nil, err
	}
	defer leave()
	say, err := lines(w)
	if err != nil {
		return nil, nil
	}
	for e, err := range s.node.Watch(r.Context(), key) {
		if err != nil || say(Watched{e.Kind, e.Value.Raw, e.Value.Proof != nil, max(int64(time.Until(e.Value.Expires)/time.Second), 0)}) != nil {
			break
		}
	}
	return nil, nil
}

// Watch yields what happens to the records of a key, first those that there are, from when
// begun is called until ctx ends. An error comes last: a *Problem, or ErrNoAnswer where the
// node has ended.
func (c *Client) Watch(ctx context.Context, key []byte, begun func()) iter.Seq2[Watched, error] {
	return follow(ctx, c, "/v1/watch", url.Values{"key": {hex.EncodeToString(key)}}, begun, func(line []byte) (e Watched, err error) {
		read := struct {
			*Watched
			Value json.RawMessage `json:"value"`
		}{Watched: &e}
		if err = json.Unmarshal(line, &read); err == nil {
			e.Value, err = wire.FromJSON(read.Value)
		}
		return e, err
	})
}
