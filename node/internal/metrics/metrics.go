package metrics

import (
	"fmt"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/upkeep"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// Metrics are those of one node: a tracer for each package, and what there is at the
// moment.
type Metrics struct {
	Server   server.MetricsTracer
	Client   client.MetricsTracer
	Dialer   dialer.MetricsTracer
	Lookups  lookup.MetricsTracer
	Routing  routing.MetricsTracer
	Upkeep   upkeep.MetricsTracer
	Resolver resolver.MetricsTracer
	Adopter  replication.MetricsTracer
	Service  maculadht.MetricsTracer
	Records  records.MetricsTracer
	Disk     pebble.MetricsTracer
	Topics   pubsub.MetricsTracer
	Calls    rpc.MetricsTracer
	Gateway  gateway.MetricsTracer
	Uplinks  uplink.MetricsTracer

	all family
	in  prometheus.Registerer
}

// New registers the metrics of a node of that version. now tells what there is, at each
// scrape, and false while there is nothing yet; it may be called until Close and, by a
// scrape that is under way then, after it. The error is that two nodes have one
// registerer.
func New(in prometheus.Registerer, version string, now func() (State, bool)) (*Metrics, error) {
	m := &Metrics{in: in}
	f := &m.all
	q := newQueries(f)
	m.Server, m.Client, m.Dialer = newStreams(f), newAsking(f, q), newDialling(f, q)
	m.Lookups, m.Routing, m.Upkeep, m.Resolver, m.Adopter, m.Service = newLookups(f), newTable(f), newHandover(f), newResolving(f), newAdopting(f), newService(f)
	m.Records, m.Disk = newStoring(f), newDisk(f)
	m.Topics, m.Calls, m.Gateway, m.Uplinks = newTopics(f), newCalls(f), newGuests(f), newUplinks(f)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "macula_build_info", Help: "1, and in the labels what runs"}, []string{"version", "go_version"})
	kept(f, build).WithLabelValues(version, runtime.Version()).Set(1)
	kept(f, newState(now))
	if err := in.Register(m); err != nil {
		return nil, fmt.Errorf("register the metrics (of a registerer that has another node's already: give each node its own, or each a prometheus.WrapRegistererWith of a label): %w", err)
	}
	return m, nil
}

// ServiceOptions have a service and its parts tell their tracers, and its lookups be
// spans of a provider unless that is nil.
func (m *Metrics) ServiceOptions(spans trace.TracerProvider) []maculadht.Option {
	opts := []maculadht.Option{
		maculadht.WithMetricsTracer(m.Service),
		maculadht.WithServer(server.WithMetricsTracer(m.Server)),
		maculadht.WithClient(client.WithMetricsTracer(m.Client)),
		maculadht.WithRouting(routing.WithMetricsTracer(m.Routing)),
		maculadht.WithLookups(lookup.WithMetricsTracer(m.Lookups)),
		maculadht.WithUpkeep(upkeep.WithMetricsTracer(m.Upkeep)),
		maculadht.WithResolver(resolver.WithMetricsTracer(m.Resolver)),
		maculadht.WithAdopter(replication.WithMetricsTracer(m.Adopter)),
	}
	if spans != nil {
		opts = append(opts, maculadht.WithLookups(lookup.WithTracerProvider(spans)))
	}
	return opts
}

// Close takes them from the registerer, so that another node may have it.
func (m *Metrics) Close() { m.in.Unregister(m) }

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, c := range m.all.all {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range m.all.all {
		c.Collect(to)
	}
}

// NewRegistry returns a registry with the metrics of this process: those of the Go
// runtime, and of the system where it tells.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler serves what a registerer gathers to Prometheus, as text or OpenMetrics: 404
// where it gathers nothing.
func Handler(r prometheus.Registerer) http.Handler {
	g, gathers := r.(prometheus.Gatherer)
	if !gathers {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true})
}
