package page

import (
	"bytes"
	"context"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

// Node is what the page tells of. All of it is called by several goroutines.
type Node interface {
	Status() schema.Status
	Identity() schema.Identity
	History() schema.History
	Peers() []schema.Peer
	Table() schema.Table
	Uplinks() []schema.Uplink
	Clients() []schema.Client
	Advertisements() []schema.Advertisement
	Keys(ctx context.Context, prefix []byte, cursor string, max int) (schema.Keys, error)
	Lookup(ctx context.Context, key []byte, asked func(schema.Asked), hop func(schema.Hop)) schema.Looked
}

const (
	// lookupTime is how long a lookup may take that is waited for without JavaScript.
	lookupTime = 8 * time.Second
	// maxLookups is how many of these run at a time.
	maxLookups = 4
)

// policy has a browser load nothing but what this package serves, and run no script of a text
// that got into the page.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

//go:embed static
var static embed.FS

// page serves one node's.
type page struct {
	node    Node
	html    *template.Template
	lookups chan struct{} // has a token for each that runs
	mux     *http.ServeMux
}

// New returns what answers GET and HEAD of the page of a node, at "/", and of what belongs to
// it. Who may ask is for the caller to see to.
func New(n Node) (http.Handler, error) {
	html, err := template.New("page.html").Funcs(functions).ParseFS(static, "static/page.html", "static/parts.html")
	if err != nil {
		return nil, fmt.Errorf("read the page's template: %w", err)
	}
	p := &page{node: n, html: html, lookups: make(chan struct{}, maxLookups), mux: http.NewServeMux()}
	p.mux.HandleFunc("GET /{$}", p.show)
	p.mux.HandleFunc("GET /key", p.key)
	for name, kind := range map[string]string{"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		text, err := static.ReadFile("static/" + name)
		if err != nil {
			return nil, fmt.Errorf("read the page: %w", err)
		}
		p.mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			_, _ = w.Write(text) // who asked may be gone
		})
	}
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "there is nothing at "+legible(r.URL.Path, maxText)+": the page is at /", http.StatusNotFound)
	})
	return p, nil
}

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	p.mux.ServeHTTP(w, r)
}

// show answers with the page, after a lookup where the form asked for one.
func (p *page) show(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	v := p.view(r, q.Get("cursor"))
	if q.Has("key") {
		v.Lookup = p.lookUp(r.Context(), q.Get("key"), q.Get("as"))
	}
	var text bytes.Buffer // so that an error is not half a page
	if err := p.html.Execute(&text, v); err != nil {
		http.Error(w, "the page can not be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = text.WriteTo(w) // who asked may be gone
}

// key says in JSON which key the form means, for the script, which asks the API for that.
func (p *page) key(w http.ResponseWriter, r *http.Request) {
	var said struct {
		Key   string `json:"key,omitempty"`
		Error string `json:"error,omitempty"`
	}
	status := http.StatusOK
	key, err := keyOf(r.URL.Query().Get("key"), r.URL.Query().Get("as"))
	if said.Key = hex.EncodeToString(key); err != nil {
		said.Error, status = err.Error(), http.StatusBadRequest
	}
	text, err := json.Marshal(said)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
