package node

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/internal/memory"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/node/internal/backend"
	"github.com/macula-mesh/macula-node/node/internal/problems"
)

// local is a node as its local API tells of it.
type local struct {
	*backend.Backend
	n *Node
}

// openBackend has what the local API asks be answered.
func (n *Node) openBackend() (err error) {
	n.backend, err = backend.New(backend.Parts{
		Host: n.host.Base, Service: n.service, Store: n.stored, Uplinks: n.uplinks, Topics: n.topics, Watcher: n.watcher, Calls: n.calls, Lists: n.cfg.access,
		Version: n.cfg.Version, Hostname: n.cfg.Hostname, Endpoints: n.Endpoints, CloseRefused: n.closeRefused,
		Status: func() schema.Status { return local{n: n}.Status() }, Refused: n.refused, Log: n.cfg.log("node"),
	})
	return err
}

// Uplinks implements api.Network.
func (l local) Uplinks() []schema.Uplink { return l.UplinkList() }

// Health implements api.State.
func (l local) Health() schema.Health {
	problems := l.n.problems(l.n.beginnings())
	return schema.Health{Well: len(problems) == 0, Ready: l.n.Ready(), Problems: problems}
}

// Backup implements api.State.
func (l local) Backup(ctx context.Context, dir string) (schema.Backup, error) {
	made, err := l.n.Backup(ctx, dir)
	return schema.Backup(made), err
}

// Status implements api.Node.
func (l local) Status() schema.Status {
	stats, store, used := l.n.records.Stats(), l.n.StoreStatus(), memory.Read()
	beginnings := l.n.beginnings()
	started := l.n.presence.Started()
	s := schema.Status{
		PID:     os.Getpid(),
		Version: l.n.cfg.Version,
		Started: started,
		Uptime:  time.Since(started).Seconds(),
		DataDir: l.n.presence.Path(),

		PeerID:    l.n.host.ID().String(),
		NodeID:    l.n.ID().String(),
		Realm:     l.n.Realm(),
		Mode:      l.n.service.Mode().String(),
		Addrs:     texts(l.n.Addrs()),
		Endpoints: l.n.Endpoints(),
		Contacts:  len(l.n.service.Routing().Contacts()),
		Bootstrap: told(beginnings),

		Records: schema.Records{Records: stats.Records, Keys: stats.Keys, Bytes: stats.Bytes, Limit: store.Limit},
		Store: schema.Store{
			Kind: store.Kind, Dir: store.Dir, DiskBytes: store.DiskBytes, DiskLimit: store.DiskLimit, Unread: l.n.unread,
		},
		Memory:   schema.Memory{Used: used.Runtime, Limit: used.Limit, Records: store.Limit, Buffers: l.n.cfg.Limits.Accounts.TotalMemory},
		Refused:  l.n.refused(),
		Problems: l.n.problems(beginnings),
	}
	if store.Failing != nil {
		s.Store.Failing = store.Failing.Error()
	}
	return s
}

// problems says why the node is not well.
func (n *Node) problems(beginnings []beginning) []string {
	all, stats, store := []string{}, n.records.Stats(), n.StoreStatus()
	for _, why := range []string{
		n.lonely(beginnings), problems.Clock(n.service.ClockAhead()),
		problems.Store(store.Failing), problems.Room(stats.Bytes, store.Limit),
	} {
		if why != "" {
			all = append(all, why)
		}
	}
	return all
}

// refused counts what the node has refused.
func (n *Node) refused() schema.Refused {
	lists, pool, mux := n.AccessStats(), n.Conns(), n.service.Handlers().Mux().Stats()
	return schema.Refused{
		Denied: lists.Denied, NotAllowed: lists.NotAllowed,
		Handshakes: pool.Handshakes.Refused, GaveWay: pool.GaveWay,
		ConnectFirst: mux.Unmet, Busy: mux.Busy, TurnedAway: mux.TurnedAway,
	}
}

// running is what a node says to the commands on its machine.
func (n *Node) running() datadir.Running {
	r := datadir.Running{
		PeerID:   n.host.ID().String(),
		Realm:    n.Realm(),
		Addrs:    texts(n.LocalAddrs()),
		Endpoint: n.LocalEndpoint().Text(),
	}
	for _, b := range n.cfg.bootstrap {
		for _, a := range b.Addrs {
			r.Bootstrap = append(r.Bootstrap, fmt.Sprintf("%s/p2p/%s", a, b.ID))
		}
	}
	return r
}

func texts[T fmt.Stringer](all []T) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = v.String()
	}
	return out
}
