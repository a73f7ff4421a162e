package main

import (
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/internal/api"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/node"
)

// localNode is the running node as its local API tells of it: an api.Node.
type localNode struct {
	*node.Node
	dir string
	at  datadir.Running
}

// Status says how the node is.
func (l localNode) Status() api.Status {
	stored, store := l.Service().Routing().Records(), l.StoreStatus()
	stats := stored.Stats()
	s := api.Status{
		PID:     l.at.PID,
		Version: version(),
		Started: l.at.Started,
		Uptime:  time.Since(l.at.Started).Seconds(),
		DataDir: l.dir,

		PeerID:    l.Host().ID().String(),
		NodeID:    l.ID().String(),
		Realm:     l.Realm(),
		Mode:      l.Service().Mode().String(),
		Addrs:     texts(l.Addrs()),
		Endpoints: l.Endpoints(),
		Contacts:  len(l.Service().Routing().Contacts()),

		Records:  api.Records{Records: stats.Records, Keys: stats.Keys, Bytes: stats.Bytes, Limit: store.Limit},
		Store:    api.Store{Kind: store.Kind, Dir: store.Dir, DiskBytes: store.DiskBytes, DiskLimit: store.DiskLimit},
		Problems: []string{},
	}
	if store.Failing != nil {
		s.Store.Failing = store.Failing.Error()
		s.Problems = append(s.Problems, fmt.Sprintf("nothing new can be stored: %v", store.Failing))
	}
	return s
}

// openAPI serves the local API. A node without one serves all the same.
func (o *occupation) openAPI(n *node.Node) (closeAPI func() error) {
	log := logs.Logger("node")
	if o.Last() != nil {
		api.RemoveLast(o.Last().Socket)
	}
	s, err := api.Open(o.Path(), localNode{n, o.Path(), o.says}, log)
	if err != nil {
		log.Warn("no local API: status and backup will not reach this node", "err", err)
		return func() error { return nil }
	}
	o.says.Socket = s.Path()
	return s.Close
}

// localAPI returns a client of the node that runs on a data directory, and what that
// one says of itself.
func localAPI(dir string) (*api.Client, *datadir.Running, error) {
	r, err := datadir.RunningIn(dir)
	switch {
	case err != nil:
		return nil, nil, err
	case r.Socket == "":
		return nil, nil, fmt.Errorf("%s, has no local API: its log says why", r)
	}
	return api.NewClient(r.Socket), r, nil
}
