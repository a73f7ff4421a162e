package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"github.com/danielgtaylor/huma/v2"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/node/api/door"
	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
)

func problem(status int, format string, args ...any) *huma.ErrorModel {
	return &huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// statusOf says by whose fault an error is, and of which kind.
func statusOf(err error) int {
	for _, kind := range []struct {
		status int
		errs   []error
	}{
		{http.StatusConflict, []error{backup.ErrExists, maculadht.ErrAdvertised, records.ErrNotOwner, records.ErrSuperseded}},
		{http.StatusBadRequest, []error{proto.ErrInvalidRequest, records.ErrCursor, values.ErrBad}},
		{http.StatusTooManyRequests, []error{pubsub.ErrTooMany}},
		{http.StatusUnprocessableEntity, []error{backup.ErrPlace, backup.ErrNothing, values.ErrHarmful}},
		{http.StatusInsufficientStorage, []error{syscall.ENOSPC, records.ErrStoreFull, records.ErrKeyFull, records.ErrStoreFailed}},
		{http.StatusServiceUnavailable, []error{maculadht.ErrClosed}},
		{http.StatusGatewayTimeout, []error{context.DeadlineExceeded}},
	} {
		for _, e := range kind.errs {
			if errors.Is(err, e) {
				return kind.status
			}
		}
	}
	return http.StatusInternalServerError
}

// problemOf is an error as it is answered.
func problemOf(err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*huma.ErrorModel](err); ok {
		return p
	}
	if r, ok := errors.AsType[*door.Refusal](err); ok {
		return problem(r.Status, "%s", r.Why)
	}
	return problem(statusOf(err), "%v", err)
}

// writeProblem answers with an error where no operation was begun.
func writeProblem(w http.ResponseWriter, err error) {
	p := problemOf(err).(*huma.ErrorModel)
	body, err := json.Marshal(p)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // who asked may be gone
}
