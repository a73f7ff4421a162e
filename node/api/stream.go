package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	// writeTime is how long a reader may take for one event.
	writeTime = 10 * time.Second
	// aliveTime is how often a reader of a stream on which nothing happens is looked for.
	aliveTime = 15 * time.Second
)

// stream writes server-sent events to one reader; several goroutines may.
type stream struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	out   *http.ResponseController
	ended bool
}

// errEnded: the stream's request is over.
var errEnded = errors.New("the stream has ended")

// say writes an event of a kind, with data as JSON.
func (s *stream) say(kind string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var event bytes.Buffer
	event.WriteString("event: " + kind + "\ndata: ")
	event.Write(text)
	event.WriteString("\n\n")
	return s.write(event.Bytes())
}

func (s *stream) write(text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	if err := s.out.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	if _, err := s.w.Write(text); err != nil {
		return err
	}
	return s.out.Flush()
}

// end has nothing be written any more.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// alive looks for the reader from time to time, and cancels where it is gone.
func (s *stream) alive(ctx context.Context, cancel func()) {
	tick := time.NewTicker(aliveTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.write([]byte(": alive\n\n")) != nil {
				cancel()
				return
			}
		}
	}
}

// streamed answers with a stream that run writes until its reader leaves, and calls leave in
// the end, whether run was called or not.
func streamed(leave func(), run func(ctx context.Context, s *stream)) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer leave()
		_, w := humago.Unwrap(c)
		s := &stream{w: w, out: http.NewResponseController(w)}
		defer s.end()
		_ = s.out.SetReadDeadline(time.Time{}) // the reader's leaving ends it
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		ctx, cancel := context.WithCancel(c.Context())
		var looks sync.WaitGroup
		defer looks.Wait()
		defer cancel()
		if s.write([]byte(": begun\n\n")) != nil {
			return
		}
		looks.Go(func() { s.alive(ctx, cancel) })
		run(ctx, s)
	}}
}

// events describes the stream of an operation: the data of each kind of event.
func events(api huma.API, kinds ...event) map[string]*huma.Response {
	var all []*huma.Schema
	for _, k := range kinds {
		all = append(all, &huma.Schema{
			Type: huma.TypeObject, Title: k.name, Required: []string{"event", "data"},
			Properties: map[string]*huma.Schema{
				"event": {Type: huma.TypeString, Enum: []any{k.name}},
				"data":  api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(k.data), true, k.name),
			},
		})
	}
	return map[string]*huma.Response{"200": {
		Description: "Server-sent events, until the reader leaves",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{
			Type: huma.TypeArray, Items: &huma.Schema{OneOf: all},
		}}},
	}}
}

// event is a kind of event of a stream, and what its data are.
type event struct {
	name string
	data any
}

// discarded takes an answer of which only the status and the headers are of interest.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) WriteHeader(status int)      { d.status = status }
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }
