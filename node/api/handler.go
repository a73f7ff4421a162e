package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/macula-mesh/macula-node/node/api/door"
)

// handler is everything that is served, behind the guard of the listener that it comes by.
func (s *Server) handler(o Options) http.Handler {
	mux := http.NewServeMux()
	api := humago.New(mux, config())
	s.register(api)
	spec, err := api.OpenAPI().MarshalJSON()
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		if err != nil {
			writeProblem(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(spec)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if o.Metrics == nil {
			writeProblem(w, problem(http.StatusNotFound, "the metrics of this node are not gathered here: its Config.Registerer is no prometheus.Gatherer"))
			return
		}
		o.Metrics.ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /login", logIn)
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if guard := door.Of(r.Context()); guard != nil {
			guard.LogOut(w, r)
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if !s.begin() {
			writeProblem(w, problem(http.StatusServiceUnavailable, "the node is being stopped"))
			return
		}
		defer s.handling.Done()
		if err := admit(r); err != nil {
			refuse(w, r, err)
			return
		}
		r = withKnown(r)
		if h, pattern := mux.Handler(r); pattern == "" {
			missing(w, r, h, o.Page)
			return
		}
		free, err := s.body(w, r)
		if err != nil {
			writeProblem(w, err)
			return
		}
		defer free()
		mux.ServeHTTP(w, r)
	})
}

// admit asks the guard of the listener; the token is not wanted of who brings it.
func admit(r *http.Request) error {
	guard := door.Of(r.Context())
	switch {
	case guard == nil:
		return nil
	case r.URL.Path == "/login":
		return guard.CheckOrigin(r)
	}
	return guard.Check(r)
}

// loginForm asks whoever opens the page for the token.
const loginForm = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>macula-node</title>
<form method="post" action="/login"><p><label>Token of this node, in api.token of its data directory:
<input type="password" name="token" autocomplete="current-password" required autofocus></label> <button>Log in</button></p></form></html>
`

// refuse answers who is not let in: a browser that opens the page can log in.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	refused, is := errors.AsType[*door.Refusal](err)
	if is && refused.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="macula-node"`)
		if r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(loginForm))
			return
		}
	}
	writeProblem(w, err)
}

func logIn(w http.ResponseWriter, r *http.Request) {
	guard := door.Of(r.Context())
	if guard == nil {
		writeProblem(w, problem(http.StatusNotFound, "nobody needs to log in on the socket"))
		return
	}
	if err := guard.LogIn(w, r); err != nil {
		writeProblem(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// missing answers for what there is no operation: with the page, or with what is wrong, which
// mux has h say in words of its own.
func missing(w http.ResponseWriter, r *http.Request, h http.Handler, page http.Handler) {
	said := &discarded{header: make(http.Header)}
	h.ServeHTTP(said, r)
	switch {
	case said.status == http.StatusMethodNotAllowed:
		allowed := said.header.Get("Allow")
		w.Header().Set("Allow", allowed)
		writeProblem(w, problem(http.StatusMethodNotAllowed, "%s takes %s, not %s", r.URL.Path, allowed, r.Method))
	case page != nil && door.Of(r.Context()) != nil && !strings.HasPrefix(r.URL.Path, "/v1/"):
		page.ServeHTTP(w, r)
	default:
		writeProblem(w, problem(http.StatusNotFound, "there is nothing at %q", r.URL.Path))
	}
}

// body reads a request's body, so that nothing waits for it any more, and returns what gives
// its memory back.
func (s *Server) body(w http.ResponseWriter, r *http.Request) (free func(), err error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return func() {}, nil
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil, problem(http.StatusBadRequest, "%s takes no body", r.Method)
	}
	want, most, bodies := "application/json", int64(maxBody), s.bodies
	if door.Of(r.Context()) != nil {
		bodies = s.bodiesTCP
	}
	if r.URL.Path == "/login" {
		want, most = "application/x-www-form-urlencoded", maxForm
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != want {
		return nil, problem(http.StatusUnsupportedMediaType, "Content-Type is %q: send %s", r.Header.Get("Content-Type"), want)
	}
	size := r.ContentLength
	if size > most {
		_, _ = io.CopyN(io.Discard, r.Body, 2*most) // so that most who ask are told, and do not meet a closed connection
		return nil, tooLarge(most)
	}
	if size < 0 {
		size = most
	}
	if err := bodies.Acquire(r.Context(), size); err != nil {
		return nil, problem(http.StatusServiceUnavailable, "too many requests are being read: ask again")
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		bodies.Release(size)
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, tooLarge(most)
		}
		return nil, problem(http.StatusBadRequest, "the request broke off: %v", err)
	}
	bodies.Release(size - int64(len(text)))
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // all of it is there
	return func() { bodies.Release(int64(len(text))) }, nil
}

func tooLarge(most int64) error {
	return problem(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", most)
}

// takes has the answer of an operation take as long as it does: as far as this package is
// asked, the caller's leaving ends it.
func takes(most time.Duration) huma.Middlewares {
	return huma.Middlewares{func(c huma.Context, next func(huma.Context)) {
		_, w := humago.Unwrap(c)
		end := time.Time{}
		if most > 0 {
			end = time.Now().Add(most)
		}
		_ = http.NewResponseController(w).SetWriteDeadline(end)
		next(c)
	}}
}
