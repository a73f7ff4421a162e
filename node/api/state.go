package api

import (
	"context"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

func (s *Server) registerState(api huma.API) {
	get(api, "/v1/status", "status", "state", "How the node is", s.status)
	get(api, "/v1/identity", "identity", "state", "Who the node is, where it is reached, and how each address is known", s.node.Identity)
	get(api, "/v1/version", "version", "state", "Which program answers", func() schema.Version {
		return schema.Version{Version: s.node.Identity().Version, Go: runtime.Version()}
	})
	get(api, "/v1/history", "history", "state", "What the node did in the last 15 minutes", s.node.History)
	type health struct {
		Status int
		Body   schema.Health
	}
	probe := func(path, id, summary string, good func(schema.Health) bool) {
		op := operation(http.MethodGet, path, id, "state", summary)
		op.Errors = slices.DeleteFunc(op.Errors, func(status int) bool { return status == http.StatusServiceUnavailable })
		op.Responses = map[string]*huma.Response{"503": {Description: "It is not so"}}
		huma.Register(api, op, func(context.Context, *struct{}) (*health, error) {
			h := &health{http.StatusOK, s.node.Health()}
			if !good(h.Body) {
				h.Status = http.StatusServiceUnavailable
			}
			return h, nil
		})
	}
	probe("/v1/health", "health", "Whether the node is well: 200, or 503", func(h schema.Health) bool { return h.Well })
	probe("/v1/ready", "ready", "Whether the node serves: 200, or 503", func(h schema.Health) bool { return h.Ready })

	op := operation(http.MethodGet, "/v1/events", "events", "state", "What happens, until the reader leaves", http.StatusTooManyRequests)
	op.Responses = events(api, event{"event", schema.Event{}})
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		leave, err := stay(ctx)
		if err != nil {
			return nil, err
		}
		return streamed(leave, func(ctx context.Context, out *stream) {
			for e := range s.node.Events(ctx, func() { _ = out.write([]byte(": listening\n\n")) }) {
				if out.say("event", e) != nil {
					return
				}
			}
		}), nil
	})

	op = operation(http.MethodPost, "/v1/backup", "backup", "state", "Copy the data directory, the key too", http.StatusConflict, http.StatusInsufficientStorage)
	op.Middlewares = takes(0)
	post(api, op, s.backup)
}

func (s *Server) status() schema.Status {
	status := s.node.Status()
	status.API = s.URL()
	return status
}

// backup makes one at a time.
func (s *Server) backup(ctx context.Context, asked schema.BackupRequest) (made schema.Backup, err error) {
	if !filepath.IsAbs(asked.Dir) {
		return made, problem(http.StatusBadRequest, "dir %q is not an absolute path", asked.Dir)
	}
	select {
	case s.backups <- struct{}{}:
	default:
		return made, problem(http.StatusConflict, "another backup is being made: wait for its end")
	}
	defer func() { <-s.backups }()
	if made, err = s.node.Backup(ctx, asked.Dir); err != nil {
		s.log.Warn("no backup was made", "dir", asked.Dir, "err", err)
		return made, err
	}
	s.log.Info("backup made", "dir", made.Dir, "bytes", made.Bytes)
	return made, nil
}
