package observe

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync"
	"time"
)

// headerTime is how long a request may take to come; a profile takes as long as it wants.
const headerTime = 5 * time.Second

// ErrNotLoopback: profiles tell what is in memory, so they are for this machine alone.
var ErrNotLoopback = errors.New("profiles are served on loopback alone: write 127.0.0.1:PORT or [::1]:PORT")

// Profiles serve net/http/pprof at /debug/pprof/. Its own registration is with
// http.DefaultServeMux, which nothing in this program serves.
type Profiles struct {
	addr   string
	http   *http.Server
	served sync.WaitGroup
}

// ServeProfiles serves them at an address of loopback, IP:PORT. Others are an
// ErrNotLoopback. Close it.
func ServeProfiles(addr string, log *slog.Logger) (*Profiles, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return nil, fmt.Errorf("profiles at %q: %w", addr, ErrNotLoopback)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for profiles: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	p := &Profiles{addr: l.Addr().String(), http: &http.Server{
		Handler: fromHere(mux), ReadHeaderTimeout: headerTime,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	p.served.Go(func() {
		if err := p.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("profiles are served no longer", "err", err)
		}
	})
	log.Info("profiles are served", "at", "http://"+p.addr+"/debug/pprof/")
	return p, nil
}

// fromHere refuses what a page of elsewhere has a browser on this machine ask: under a
// host name of its own that leads here, or as a page of another origin.
func fromHere(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		ip, err := netip.ParseAddr(host)
		if host != "localhost" && (err != nil || !ip.Unmap().IsLoopback()) || r.Header.Get("Origin") != "" {
			http.Error(w, "profiles are for this machine: ask 127.0.0.1", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Addr returns where they are served.
func (p *Profiles) Addr() string { return p.addr }

// Close ends it at once.
func (p *Profiles) Close() error {
	err := p.http.Close()
	p.served.Wait()
	return err
}
