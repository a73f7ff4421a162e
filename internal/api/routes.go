package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

// handler answers a request with what is to be written as JSON, or with an error.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// routes are all paths, with the methods of each.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for path, methods := range map[string]map[string]handler{
		"/v1/status":    {http.MethodGet: s.status},
		"/v1/backup":    {http.MethodPost: s.backup},
		"/v1/publish":   {http.MethodPost: s.publish},
		"/v1/subscribe": {http.MethodGet: s.subscribe},
		"/v1/watch":     {http.MethodGet: s.watch},
		"/v1/call":      {http.MethodPost: s.call},
		"/v1/serve":     {http.MethodPost: s.serve},
		"/v1/answer":    {http.MethodPost: s.answerCall},
	} {
		mux.Handle(path, s.answer(byMethod(methods)))
	}
	mux.Handle("/", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return nil, problem(http.StatusNotFound, "there is nothing at %q", r.URL.Path)
	}))
	return mux
}

func byMethod(methods map[string]handler) handler {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		h, ok := methods[r.Method]
		if !ok && r.Method == http.MethodHead {
			h, ok = methods[http.MethodGet]
		}
		if !ok {
			allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
			w.Header().Set("Allow", allowed)
			return nil, problem(http.StatusMethodNotAllowed, "%s takes %s, not %s", r.URL.Path, allowed, r.Method)
		}
		return h(w, r)
	}
}

// answer writes what a handler returns. One that returns nothing has written its answer.
func (s *Server) answer(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := h(w, r)
		if err == nil && v == nil {
			return
		}
		code, kind := http.StatusOK, "application/json"
		if err != nil {
			p := problemOf(err)
			v, code, kind = p, p.Status, "application/problem+json"
		}
		body, err := json.Marshal(v)
		if err != nil {
			s.log.Error("the local API can not say what it should", "path", r.URL.Path, "err", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(code)
		_, _ = w.Write(append(body, '\n')) // who asked may be gone
	})
}

// stay counts a request that lasts until its caller leaves.
func (s *Server) stay() (leave func(), err error) {
	select {
	case s.staying <- struct{}{}:
		return func() { <-s.staying }, nil
	default:
		return nil, problem(http.StatusTooManyRequests, "%d commands subscribe or serve here already: end one of them", maxStaying)
	}
}

func problem(status int, format string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// problemOf is an error as it is answered.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, backup.ErrExists):
		status = http.StatusConflict
	case errors.Is(err, proto.ErrInvalidRequest):
		status = http.StatusBadRequest
	case errors.Is(err, pubsub.ErrTooMany):
		status = http.StatusTooManyRequests
	case errors.Is(err, backup.ErrPlace), errors.Is(err, backup.ErrNothing):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, syscall.ENOSPC):
		status = http.StatusInsufficientStorage
	}
	return problem(status, "%v", err)
}

// decode reads a request's JSON, in which nothing else may be.
func decode(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "Content-Type is %q: send application/json", r.Header.Get("Content-Type"))
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, err = dec.Token(); err == nil {
			err = errors.New("something follows the JSON")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", large.Limit)
	}
	if err != nil {
		return problem(http.StatusBadRequest, "the request is not as it should be: %v", err)
	}
	return nil
}

func (s *Server) status(http.ResponseWriter, *http.Request) (any, error) { return s.node.Status(), nil }

func (s *Server) backup(w http.ResponseWriter, r *http.Request) (any, error) {
	var asked BackupRequest
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(asked.Dir) {
		return nil, problem(http.StatusBadRequest, "dir %q is not an absolute path", asked.Dir)
	}
	select {
	case s.backups <- struct{}{}:
	default:
		return nil, problem(http.StatusConflict, "another backup is being made: wait for its end")
	}
	defer func() { <-s.backups }()
	c := http.NewResponseController(w) // it takes as long as it takes; the caller's leaving ends it
	if err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{})); err != nil {
		return nil, err
	}
	made, err := s.node.Backup(r.Context(), asked.Dir)
	if err != nil {
		s.log.Warn("no backup was made", "dir", asked.Dir, "err", err)
		return nil, err
	}
	s.log.Info("backup made", "dir", made.Dir, "bytes", made.Bytes)
	return Backup(made), nil
}
