package node

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/node/internal/metrics"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// openMetrics registers the node's metrics.
func (n *Node) openMetrics() (err error) {
	n.metrics, err = metrics.New(n.cfg.Registerer, n.cfg.Version, n.state)
	return err
}

// NewRegistry returns a registry with the metrics of the Go runtime and of this process,
// as a node has one whose Config names no Registerer: for who adds metrics of his own.
func NewRegistry() *prometheus.Registry { return metrics.NewRegistry() }

// Gatherer returns what gathers the metrics of the node: its own registry, or
// Config.Registerer where that is a prometheus.Gatherer too, as a *prometheus.Registry
// is. It is nil where that is none.
func (n *Node) Gatherer() prometheus.Gatherer {
	g, _ := n.cfg.Registerer.(prometheus.Gatherer)
	return g
}

// MetricsHandler returns what serves the metrics of the node to Prometheus, as text or
// OpenMetrics: 404 where Gatherer returns nil. It is for the caller to see to who may ask.
func (n *Node) MetricsHandler() http.Handler { return metrics.Handler(n.cfg.Registerer) }

// state tells the metrics what there is, once the node serves and until it is closed.
func (n *Node) state() (metrics.State, bool) {
	if !n.Ready() {
		return metrics.State{}, false
	}
	beginnings, store, mux := n.beginnings(), n.StoreStatus(), n.service.Handlers().Mux()
	s := metrics.State{
		Ready: true, Well: len(n.problems(beginnings)) == 0,
		Server:  n.service.Mode() == maculadht.ModeServer,
		Failing: store.Failing != nil,
		Table:   n.service.Routing().Stats(),
		Records: n.records.Stats(), Limit: store.Limit, Adopted: n.service.Adopted(),
		Pool: n.Conns(), Mux: mux.Stats(), DHT: n.service.Handlers().Stats(), Clients: mux.Clients().Len(),
		Topics: n.topics.Stats(), Calls: n.calls.Stats(), Access: n.AccessStats(),
		Uplinks: make(map[uplink.State]int), Begun: make(map[string]int),
		DiskBytes: store.DiskBytes, DiskLimit: store.DiskLimit,
	}
	for _, u := range n.uplinks.Status() {
		s.Uplinks[u.State]++
	}
	for _, b := range beginnings {
		s.Begun[b.state]++
	}
	return s, true
}
