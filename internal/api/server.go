package api

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

const (
	maxBody    = 2 * wire.MaxPayload // of a request: JSON has a payload in base64
	maxHeader  = 16 << 10
	headerTime = 5 * time.Second
	askTime    = 10 * time.Second // for a request and its answer, where it says nothing else
	idleTime   = time.Minute
	closeTime  = time.Second // for what is under way at the end
	// clearTime is for a backup that the end cuts short to be cleared away.
	clearTime = 3 * time.Second
	// maxConns is how many connections are served at a time; others wait.
	maxConns = 32
	// maxStaying is how many of them may be of commands that stay, so that others are answered.
	maxStaying = 24
)

// Node is what the API tells of and acts on.
type Node interface {
	Status() Status
	// Backup copies the data directory to dir, as backup.Make does.
	Backup(ctx context.Context, dir string) (backup.Made, error)
	// Publish and Subscribe are as pubsub.Topics has them.
	Publish(ctx context.Context, topic string, payload []byte) error
	Subscribe(ctx context.Context, pattern string) (*pubsub.Subscription, error)
	// Watch is as watch.Watcher has it.
	Watch(ctx context.Context, key []byte) iter.Seq2[watch.Event, error]
	CallNode
}

// Server answers on the socket of a data directory until it is closed.
type Server struct {
	node   Node
	socket *socket
	http   *http.Server
	log    *slog.Logger
	cancel context.CancelFunc // of all that is under way
	served sync.WaitGroup

	servings servings
	backups  chan struct{} // has the token of the one that is being made
	staying  chan struct{} // has a token of each command that stays
}

// Open serves a node on the socket of its data directory, which this process has
// locked. The error is ErrInUse where another process answers there all the same.
func Open(dataDir string, n Node, log *slog.Logger) (*Server, error) {
	socket, err := listen(dataDir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{node: n, socket: socket, log: log, cancel: cancel, backups: make(chan struct{}, 1), staying: make(chan struct{}, maxStaying)}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       askTime,
		WriteTimeout:      askTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	s.served.Go(func() {
		if err := s.http.Serve(netutil.LimitListener(socket, maxConns)); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("the local API has ended", "err", err)
		}
	})
	return s, nil
}

// Path returns where the socket is.
func (s *Server) Path() string { return s.socket.path }

// Close ends what is under way, at once where it does not end by itself, and removes
// the socket. A backup is waited for until what it has copied is cleared away, for 3 s
// more at most.
func (s *Server) Close() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.served.Wait()
	late := time.NewTimer(clearTime)
	defer late.Stop()
	select {
	case s.backups <- struct{}{}:
		<-s.backups
	case <-late.C:
		err = errors.Join(err, fmt.Errorf("a backup that was being made is not cleared away in %v: remove what it left, which may hold the node's key", clearTime))
	}
	return errors.Join(err, s.socket.remove())
}
