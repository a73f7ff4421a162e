package api

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

type answering = func(context.Context, wire.Raw) (wire.Raw, error)

// fakeNode is well, and backs up as it is told.
type fakeNode struct {
	Records
	backup  func(ctx context.Context, dir string) (schema.Backup, error)
	problem string

	mu     sync.Mutex
	served map[string]answering
	atOnce int // of the procedure that was served last
}

func (n *fakeNode) Status() schema.Status {
	return schema.Status{PID: 7, Realm: "r", Addrs: []string{}, Records: schema.Records{Records: 3}, Store: schema.Store{Kind: "memory"}, Problems: []string{}}
}

func (n *fakeNode) Identity() schema.Identity {
	return schema.Identity{Realm: "r", Mode: "server", Version: "v"}
}

func (n *fakeNode) Health() schema.Health {
	if n.problem != "" {
		return schema.Health{Ready: true, Problems: []string{n.problem}}
	}
	return schema.Health{Well: true, Ready: true, Problems: []string{}}
}

func (n *fakeNode) History() schema.History { return schema.History{Samples: []schema.Sample{}} }

func (n *fakeNode) Events(ctx context.Context, begun func()) iter.Seq[schema.Event] {
	return func(yield func(schema.Event) bool) {
		begun()
		if yield(schema.Event{Kind: schema.EventMode, State: "client"}) {
			<-ctx.Done()
		}
	}
}

func (n *fakeNode) Peers() []schema.Peer     { return []schema.Peer{} }
func (n *fakeNode) Table() schema.Table      { return schema.Table{Contacts: []schema.Contact{}} }
func (n *fakeNode) Uplinks() []schema.Uplink { return []schema.Uplink{} }
func (n *fakeNode) Clients() []schema.Client { return []schema.Client{} }

func (n *fakeNode) Lookup(_ context.Context, key []byte, asked func(schema.Asked), hop func(schema.Hop)) schema.Looked {
	asked(schema.Asked{Hop: 1, PeerID: "p"})
	hop(schema.Hop{Hop: 1, PeerID: "p", Nodes: 2})
	return schema.Looked{Key: fmt.Sprintf("%x", key), Result: schema.LookupNotFound, Asked: 1}
}

func (n *fakeNode) Publish(_ context.Context, topic string, _ []byte) error {
	if topic == "" {
		return fmt.Errorf("%w: no topic", proto.ErrInvalidRequest)
	}
	return nil
}

func (n *fakeNode) Subscribe(context.Context, string) (*pubsub.Subscription, error) {
	return nil, pubsub.ErrTooMany
}

func (n *fakeNode) Backup(ctx context.Context, dir string) (schema.Backup, error) {
	return n.backup(ctx, dir)
}

// Call answers what it is given, or as the procedure's name says.
func (n *fakeNode) Call(ctx context.Context, procedure string, args wire.Raw) (wire.Raw, error) {
	switch procedure {
	case "fails":
		return nil, &schema.CallError{Code: "handler_error", Message: "no"}
	case "waits":
		<-ctx.Done()
		return nil, &schema.CallError{Code: "timeout"}
	case "":
		return nil, errors.New("a name of 0 bytes")
	}
	n.mu.Lock()
	f := n.served[procedure]
	n.mu.Unlock()
	if f != nil {
		return f(ctx, args)
	}
	return args, nil
}

func (n *fakeNode) Serve(_ context.Context, procedure string, atOnce int, f func(context.Context, wire.Raw) (wire.Raw, error)) (func() error, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.served[procedure] != nil {
		return nil, errors.New("served already")
	}
	if n.served == nil {
		n.served = make(map[string]answering)
	}
	n.served[procedure], n.atOnce = f, atOnce
	return func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.served, procedure)
		return nil
	}, nil
}

func (n *fakeNode) Watch(context.Context, []byte) iter.Seq2[watch.Event, error] {
	return func(func(watch.Event, error) bool) {}
}

func (n *fakeNode) Bans() schema.Bans { return schema.Bans{Entries: []string{}} }
func (n *fakeNode) Ban(entry string) (schema.Ban, error) {
	return schema.Ban{Entry: entry, Changed: true}, nil
}
func (n *fakeNode) Unban(entry string) (schema.Ban, error) {
	return schema.Ban{}, fmt.Errorf("%w: not there", proto.ErrInvalidRequest)
}

// open serves a node on a socket, and over TCP where options say so.
func open(t *testing.T, n Node, with ...func(*Options)) *Server {
	t.Helper()
	o := Options{DataDir: shortTemp(t), Log: slog.New(slog.DiscardHandler)}
	for _, f := range with {
		f(&o)
	}
	s, err := Open(n, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func at(address string) func(*Options) { return func(o *Options) { o.Address = address } }

func askingAt(s *Server) *client.Client { return client.New(s.Path()) }

// shortTemp is a temporary directory whose path a socket can have.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// plain is a client that keeps no connection.
func plain() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
}
