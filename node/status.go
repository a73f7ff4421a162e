package node

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/api"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/internal/memory"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
)

// local is a node as its local API tells of it.
type local struct{ *Node }

// Status implements api.Node.
func (l local) Status() api.Status {
	stats, store, used := l.records.Stats(), l.StoreStatus(), memory.Read()
	beginnings := l.beginnings()
	started := l.presence.Started()
	s := api.Status{
		PID:     os.Getpid(),
		Version: l.cfg.Version,
		Started: started,
		Uptime:  time.Since(started).Seconds(),
		DataDir: l.presence.Path(),

		PeerID:    l.host.ID().String(),
		NodeID:    l.ID().String(),
		Realm:     l.Realm(),
		Mode:      l.service.Mode().String(),
		Addrs:     texts(l.Addrs()),
		Endpoints: l.Endpoints(),
		Contacts:  len(l.service.Routing().Contacts()),
		Bootstrap: told(beginnings),

		Records: api.Records{Records: stats.Records, Keys: stats.Keys, Bytes: stats.Bytes, Limit: store.Limit},
		Store: api.Store{
			Kind: store.Kind, Dir: store.Dir, DiskBytes: store.DiskBytes, DiskLimit: store.DiskLimit, Unread: l.unread,
		},
		Memory:   api.Memory{Used: used.Runtime, Limit: used.Limit, Records: store.Limit, Buffers: l.cfg.Limits.Accounts.TotalMemory},
		Refused:  l.refused(),
		Problems: l.problems(beginnings),
	}
	if store.Failing != nil {
		s.Store.Failing = store.Failing.Error()
	}
	return s
}

// problems says why the node is not well.
func (l local) problems(beginnings []beginning) []string {
	problems, stats, store := []string{}, l.records.Stats(), l.StoreStatus()
	if why := l.lonely(beginnings); why != "" {
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

// refused counts what the node has refused.
func (n *Node) refused() api.Refused {
	lists, pool, mux := n.AccessStats(), n.Conns(), n.service.Handlers().Mux().Stats()
	return api.Refused{
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
