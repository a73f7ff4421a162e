package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/internal/memory"
	"github.com/macula-mesh/macula-node/node/api/schema"
	"github.com/macula-mesh/macula-node/node/internal/backend"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
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
	problems, stats, store := []string{}, n.records.Stats(), n.StoreStatus()
	if why := n.lonely(beginnings); why != "" {
		problems = append(problems, why)
	}
	if why := wrongClock(n.service.ClockAhead()); why != "" {
		problems = append(problems, why)
	}
	if store.Failing != nil {
		what := fmt.Sprintf("nothing new can be stored: %v", store.Failing)
		if errors.Is(store.Failing, pebble.ErrBound) {
			what += "; to keep more start the node with a larger --store-disk (Config.DiskBytes), else there is room when records have come to the end of their life"
		}
		problems = append(problems, what)
	}
	if isFull(stats.Bytes, store.Limit) {
		problems = append(problems, fmt.Sprintf("the records have all of the memory that they may, %d of %d bytes: what is new takes the place of what those have stored who have most, or is refused; to keep more start the node with a larger --store-memory (Config.Records)", stats.Bytes, store.Limit))
	}
	return problems
}

// clockVoices is how many peers it takes to doubt this machine's clock.
const clockVoices = 3

// wrongClock says that this machine's clock is wrong, where so many peers say so; nothing else.
func wrongClock(ahead time.Duration, voices int) string {
	if voices < clockVoices || ahead.Abs() <= records.Skew/2 {
		return ""
	}
	side := "ahead of"
	if ahead < 0 {
		side = "behind"
	}
	return fmt.Sprintf("this machine's clock, at %s, is %v %s those of most of the %d peers that have told theirs: from %v on nobody believes what this node has sealed, nor this node what others have; set it, as by NTP",
		time.Now().Format(time.RFC3339), ahead.Abs().Round(time.Second), side, voices, records.Skew)
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

// isFull reports whether records have so much of what they may that a large value has no
// room.
func isFull(bytes, limit int64) bool {
	return bytes+values.MaxSize+records.RecordOverhead > limit
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
