package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/semaphore"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/door"
)

// What who asks may use, so that the node is not harmed by it.
const (
	maxBody = 2 * wire.MaxPayload // of a request: JSON has a payload in base64
	maxForm = 1 << 10             // of the form by which a browser logs in: no token comes before it
	// maxBodies is what all requests under way may have together, of the socket and of TCP
	// each.
	maxBodies  = 8 * maxBody
	maxHeader  = 16 << 10
	headerTime = 5 * time.Second
	askTime    = 10 * time.Second // for a request and its answer, where it says nothing else
	idleTime   = time.Minute
	closeTime  = time.Second // for what is under way at the end
	// clearTime is for what the end cuts short to come to its own, such as a backup that is to be
	// cleared away.
	clearTime = 3 * time.Second
	// maxConns is how many connections are served at a time of the socket, and of TCP;
	// others wait.
	maxConns = 64
	// maxStreams is how many of each are of readers that stay, so that others are answered, and
	// maxUnknown how many of these are of readers that have not shown the token: whoever else is
	// on the machine leaves room to its owner.
	maxStreams, maxUnknown = 48, 32
)

// Options are what a Server has beside its node.
type Options struct {
	// DataDir is where the socket and the token are; this process has locked it.
	DataDir string
	// Address is where to listen over TCP, HOST:PORT; empty for nowhere.
	Address string
	// Spare has the server go on without TCP, and log that, where Address can not be
	// listened on.
	Spare bool
	// Metrics answers /metrics; nil where there are none.
	Metrics http.Handler
	// Page answers what there is no operation for, over TCP, but for what is below /v1/: the
	// node's page. Nil for nothing.
	Page http.Handler
	Log  *slog.Logger
}

// Server answers on the socket of a data directory, and over TCP, until it is closed.
type Server struct {
	node    Node
	log     *slog.Logger
	socket  *door.Socket
	tcp     net.Listener // nil without
	address door.Address // of tcp
	servers []*http.Server
	cancel  context.CancelFunc // of all that is under way
	served  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	handling sync.WaitGroup // requests

	servings  servings
	backups   chan struct{}       // has the token of the one that is being made
	bodies    *semaphore.Weighted // what is read over the socket
	bodiesTCP *semaphore.Weighted // and over TCP
}

// Open serves a node. The error is door.ErrInUse where another process answers on the socket
// all the same.
func Open(n Node, o Options) (*Server, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{node: n, log: o.Log, cancel: cancel, backups: make(chan struct{}, 1), bodies: semaphore.NewWeighted(maxBodies), bodiesTCP: semaphore.NewWeighted(maxBodies)}
	handler := s.handler(o)
	guard, err := s.listen(o)
	if err != nil {
		cancel()
		return nil, err
	}
	s.serve(ctx, s.socket, handler, nil)
	if s.tcp != nil {
		s.serve(ctx, s.tcp, handler, guard)
	}
	return s, nil
}

// listen opens the socket, and TCP where that is wanted.
func (s *Server) listen(o Options) (guard *door.Guard, err error) {
	if s.socket, err = door.ListenSocket(o.DataDir); err != nil {
		return nil, err
	}
	if o.Address == "" {
		return nil, nil
	}
	guard, err = s.listenTCP(o)
	switch {
	case err == nil:
		return guard, nil
	case o.Spare:
		s.log.Warn("the local API is on its socket alone, and the node has no page; name another address with --api, or write --api off", "address", o.Address, "err", err)
		return nil, nil
	}
	return nil, errors.Join(err, s.socket.Close(), s.socket.Remove())
}

func (s *Server) listenTCP(o Options) (*door.Guard, error) {
	address, err := door.ParseAddress(o.Address)
	if err != nil {
		return nil, err
	}
	token, err := door.LoadToken(o.DataDir)
	if err != nil {
		return nil, err
	}
	l, err := door.ListenTCP(address)
	if err != nil {
		return nil, err
	}
	if _, port, err := net.SplitHostPort(l.Addr().String()); err == nil {
		address.Port = port
	}
	s.tcp, s.address = l, address
	return door.NewGuard(address, token), nil
}

// begin accounts for a request, unless the server is closed.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.handling.Add(1)
	}
	return !s.closed
}

// serve has one listener be answered on; guard is nil for the socket.
func (s *Server) serve(ctx context.Context, l net.Listener, handler http.Handler, guard *door.Guard) {
	ctx = context.WithValue(ctx, placesKey{}, newPlaces())
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       askTime,
		WriteTimeout:      askTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return door.With(ctx, guard) },
	}
	s.servers = append(s.servers, server)
	s.served.Go(func() {
		if err := server.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
			s.log.Warn("the local API has ended", "address", l.Addr(), "err", err)
		}
	})
}

// Path returns where the socket is.
func (s *Server) Path() string { return s.socket.Path() }

// URL returns where the API is reached over TCP; nothing where it is not.
func (s *Server) URL() string {
	if s.tcp == nil {
		return ""
	}
	return "http://" + s.address.String()
}

// Close ends what is under way, at once where it does not end by itself, removes the socket,
// and waits for all requests, for 4 s at most: none uses the node any more where the error is
// nil.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	var errs []error
	for _, server := range s.servers {
		err := server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		errs = append(errs, err)
	}
	s.served.Wait()
	handled := make(chan struct{})
	go func() { // which ends with the last of them
		s.handling.Wait()
		close(handled)
	}()
	late := time.NewTimer(clearTime)
	defer late.Stop()
	select {
	case <-handled:
	case <-late.C:
		errs = append(errs, fmt.Errorf("a request of the local API has not ended in %v%s", clearTime, s.backupLeft()))
	}
	return errors.Join(append(errs, s.socket.Remove())...)
}

// backupLeft says what to do where a backup is still being made.
func (s *Server) backupLeft() string {
	if len(s.backups) == 0 {
		return ""
	}
	return ": a backup that was being made is not cleared away: remove what it left, which may hold the node's key"
}
