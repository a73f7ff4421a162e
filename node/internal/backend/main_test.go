package backend

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/access"
	"github.com/macula-mesh/macula-node/node/api"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
	"github.com/macula-mesh/macula-node/protocols/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

var (
	_ api.Records = (*Backend)(nil)
	_ api.Topics  = (*Backend)(nil)
	_ api.Calls   = (*Backend)(nil)
	_ api.Access  = (*Backend)(nil)
)

// rig is a backend over parts as a node has them.
type rig struct {
	*Backend
	status atomic.Pointer[func() schema.Status] // how the node is said to be
	closed int                                  // connections that were closed as who has them may not come
}

func newRig(t *testing.T, changes ...func(*Parts)) *rig {
	t.Helper()
	return newRigOf(t, rpc.DefaultLimits(), changes...)
}

// newRigOf is newRig with limits of calls.
func newRigOf(t *testing.T, limits rpc.Limits, changes ...func(*Parts)) *rig {
	t.Helper()
	r := &rig{}
	r.say(func() schema.Status { return schema.Status{Mode: "server"} })
	log := slog.New(slog.DiscardHandler)
	h := newHost(t)
	stored := Remember(records.NewMemoryStore())
	kept, err := records.New(records.WithStore(stored))
	require.NoError(t, err)
	t.Cleanup(func() { kept.Close() })
	service, err := maculadht.New(h, maculadht.WithLogger(log), maculadht.WithRouting(routing.WithRecords(kept)))
	require.NoError(t, err)
	t.Cleanup(func() { service.Close() })
	topics, err := pubsub.New(service, pubsub.WithLogger(log))
	require.NoError(t, err)
	t.Cleanup(func() { topics.Close() })
	watcher, err := watch.New(service, topics)
	require.NoError(t, err)
	t.Cleanup(func() { watcher.Close() })
	calls, err := rpc.New(service, rpc.WithLogger(log), rpc.WithLimits(limits))
	require.NoError(t, err)
	t.Cleanup(func() { calls.Close() })
	dials, err := dialer.New(dialer.WithLogger(log))
	require.NoError(t, err)
	t.Cleanup(func() { dials.Close() })
	uplinks, err := uplink.New(dials, service.Handlers(), nil)
	require.NoError(t, err)
	t.Cleanup(uplinks.Close)
	lists, err := access.Open("", "")
	require.NoError(t, err)
	p := Parts{Host: h, Service: service, Store: stored, Uplinks: uplinks, Topics: topics, Watcher: watcher, Calls: calls, Lists: lists, Version: "test",
		Endpoints: func() []string { return nil }, Status: func() schema.Status { return (*r.status.Load())() }, Refused: func() schema.Refused { return schema.Refused{} },
		CloseRefused: func() int { r.closed++; return 2 }, Log: log}
	for _, change := range changes {
		change(&p)
	}
	r.Backend, err = New(p)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func (r *rig) say(status func() schema.Status) { r.status.Store(&status) }

func newHost(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

func value(t *testing.T, text string) wire.Raw {
	t.Helper()
	v, err := wire.FromJSON([]byte(text))
	require.NoError(t, err)
	return v
}

// listen reads events, and returns what awaits the next of a kind.
func (r *rig) listen(t *testing.T) func(kind string) schema.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	begun, came, ended := make(chan struct{}), make(chan schema.Event, 100), make(chan struct{})
	go func() {
		defer close(ended)
		for e := range r.Events(ctx, func() { close(begun) }) {
			select {
			case came <- e:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	<-begun
	return func(kind string) schema.Event {
		t.Helper()
		late := time.After(patience)
		for {
			select {
			case e := <-came:
				if e.Kind == kind {
					return e
				}
			case <-late:
				require.FailNow(t, "no event "+kind)
			}
		}
	}
}
