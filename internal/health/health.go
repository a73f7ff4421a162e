// Package health has an HTTP door for who operates a gateway: probes and metrics at the
// paths, in the forms and under the names that an Erlang gateway has.
package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/macula-mesh/macula-node/internal/memory"
)

const (
	askTime   = time.Second // for a request and its answer: who asks for halves holds up few
	maxConns  = 256
	maxHeader = 8 << 10
)

// Counts are what a gateway has at the moment.
type Counts struct {
	Clients       int // nodes that have CONNECTed
	Subscriptions int
	Registrations int // procedures that are served, or registered by a client
}

// Node is what the door tells of.
type Node interface {
	// Ready reports whether the node serves.
	Ready() bool
	// Counts are asked for once it is ready.
	Counts() Counts
}

// Server answers until it is closed.
type Server struct {
	node    Node
	started time.Time
	addr    string
	http    *http.Server
	served  sync.WaitGroup
}

// Open serves a node on a TCP address, host:port.
func Open(addr string, n Node, log *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for probes of health: %w", err)
	}
	s := &Server{node: n, started: time.Now(), addr: l.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /ready", s.ready)
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "text/plain", "Live") })
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusNotFound, "text/plain", "Not found") })
	s.http = &http.Server{
		Handler: mux, ReadTimeout: askTime, WriteTimeout: askTime, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.http.SetKeepAlivesEnabled(false) // each probe is a connection of its own there too
	s.served.Go(func() {
		if err := s.http.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("health is told no longer", "err", err)
		}
	})
	return s, nil
}

// Addr returns where it listens.
func (s *Server) Addr() string { return s.addr }

// Close ends it at once.
func (s *Server) Close() error {
	err := s.http.Close()
	s.served.Wait()
	return err
}

func say(w http.ResponseWriter, status int, kind, text string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // who asked may be gone
}

// uptime is in whole seconds.
func (s *Server) uptime() int64 { return int64(time.Since(s.started) / time.Second) }

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	body, err := json.Marshal(struct {
		Status string `json:"status"`
		Ready  bool   `json:"ready"`
		Uptime int64  `json:"uptime"`
	}{"healthy", s.node.Ready(), s.uptime()})
	if err != nil {
		say(w, http.StatusServiceUnavailable, "text/plain", "Service unavailable")
		return
	}
	say(w, http.StatusOK, "application/json", string(body))
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.node.Ready() {
		say(w, http.StatusServiceUnavailable, "text/plain", "Not ready")
		return
	}
	say(w, http.StatusOK, "text/plain", "Ready")
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	var counts Counts
	ready := int64(0)
	if s.node.Ready() {
		ready, counts = 1, s.node.Counts()
	}
	usage := memory.Read()
	var b strings.Builder
	for _, m := range []struct {
		name, help string
		value      int64
	}{
		{"uptime_seconds", "Seconds since the start", s.uptime()},
		{"ready", "Whether it serves: 1 or 0", ready},
		{"process_count", "Goroutines, where an Erlang gateway counts its processes", int64(runtime.NumGoroutine())},
		{"memory_bytes", "Memory of the Go runtime", usage.Runtime},
		{"process_memory_bytes", "Memory of the heap's objects and the stacks, where an Erlang gateway counts that of its processes", usage.InUse},
		{"diagnostics_available", "Whether com.macula.diagnostics procedures are served: 1 or 0", ready},
		{"clients_total", "Nodes that have connected", int64(counts.Clients)},
		{"subscriptions_total", "Subscriptions to topics", int64(counts.Subscriptions)},
		{"registrations_total", "Procedures that are served", int64(counts.Registrations)},
	} {
		fmt.Fprintf(&b, "# HELP macula_gateway_%s %s\n# TYPE macula_gateway_%[1]s gauge\nmacula_gateway_%[1]s %[3]d\n", m.name, m.help, m.value)
	}
	say(w, http.StatusOK, "text/plain; version=0.0.4", b.String())
}
