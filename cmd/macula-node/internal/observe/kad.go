package observe

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
)

// kadTypes are the types of kad-dht's messages. It also counts messages under types that
// a peer makes up, each of which would be a series.
var kadTypes = []string{"PUT_VALUE", "GET_VALUE", "ADD_PROVIDER", "GET_PROVIDERS", "FIND_NODE", "PING", "UNKNOWN"}

// KadMetrics has the metrics of kad-dht, as kad_dht_…, gathered in a registerer. Kad-dht
// has its meter from OpenTelemetry's global provider, which this sets, once in a process:
// what is set later kad-dht does not see.
func KadMetrics(in prometheus.Registerer) error {
	p, err := kadProvider(in)
	if err == nil {
		otel.SetMeterProvider(p)
	}
	return err
}

func kadProvider(in prometheus.Registerer) (*metric.MeterProvider, error) {
	exporter, err := otelprometheus.New(
		otelprometheus.WithRegisterer(in),
		otelprometheus.WithNamespace("kad_dht"),
		otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithoutTargetInfo(),
	)
	if err != nil {
		return nil, err
	}
	// Of its attributes the type alone says something of one process: the others are its
	// own peer id, and where it lies in memory.
	known := func(kv attribute.KeyValue) bool {
		return kv.Key == "message_type" && slices.Contains(kadTypes, kv.Value.AsString())
	}
	return metric.NewMeterProvider(
		metric.WithReader(exporter),
		metric.WithView(metric.NewView(metric.Instrument{Name: "*"}, metric.Stream{AttributeFilter: known})),
	), nil
}
