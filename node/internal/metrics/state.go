package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/access"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// State is what there is at the moment, and what is counted where nobody is told of it.
type State struct {
	Ready, Well bool
	Server      bool // it answers libp2p peers
	Failing     bool // the store acknowledges nothing

	Table   routing.Stats
	Records records.Stats
	Limit   int64 // of what records may cost
	Adopted int   // records
	Pool    conns.Stats
	Mux     server.MuxStats
	DHT     dht.Stats
	Clients int
	Topics  pubsub.Stats
	Calls   rpc.Stats
	Access  access.Stats
	Uplinks map[uplink.State]int
	Begun   map[string]int // addresses to begin at, by state

	DiskBytes, DiskLimit int64
}

var (
	uplinkStates = []uplink.State{
		uplink.StateConnecting, uplink.StateJoined, uplink.StateUsed, uplink.StatePeer, uplink.StateWaiting, uplink.StateOtherRealm, uplink.StateSelf,
	}
	bootstrapStates = []string{"joined", "trying", "other_realm"}
	turnedAway      = []string{wire.ReasonRealmMismatch, wire.ReasonNodeIDMismatch, wire.ReasonInvalidConnect}
)

// sample is one series of a family of those that are read at a scrape.
type sample struct {
	label string
	value float64
}

// reading is such a family.
type reading struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*State) []sample
}

// state implements prometheus.Collector.
type state struct {
	now func() (State, bool)
	all []reading
}

func newState(now func() (State, bool)) *state {
	s := &state{now: now}
	add := func(kind prometheus.ValueType, name, help, label string, of func(*State) []sample) {
		var labels []string
		if label != "" {
			labels = []string{label}
		}
		s.all = append(s.all, reading{prometheus.NewDesc(name, help, labels, nil), kind, of})
	}
	one := func(v float64) []sample { return []sample{{value: v}} }
	gauge := func(name, help string, of func(*State) float64) {
		add(prometheus.GaugeValue, name, help, "", func(s *State) []sample { return one(of(s)) })
	}
	counter := func(name, help string, of func(*State) uint64) {
		add(prometheus.CounterValue, name, help, "", func(s *State) []sample { return one(float64(of(s))) })
	}

	gauge("macula_node_ready", "Whether the node serves: 1 or 0", func(s *State) float64 { return float64(number(s.Ready)) })
	gauge("macula_node_well", "Whether all is well with the node, as macula-node status says: 1 or 0", func(s *State) float64 { return float64(number(s.Well)) })
	gauge("macula_node_server", "Whether the node answers libp2p peers: 1, or 0 for a client", func(s *State) float64 { return float64(number(s.Server)) })
	add(prometheus.GaugeValue, "macula_bootstrap_addresses", "Addresses that the node was told to begin at, by how far it is with them", "state", func(s *State) []sample {
		return samplesOf(bootstrapStates, func(v string) float64 { return float64(s.Begun[v]) })
	})
	add(prometheus.GaugeValue, "macula_uplinks", "Gateways that are named, by how it stands with them", "state", func(s *State) []sample {
		return samplesOf(uplinkStates, func(v uplink.State) float64 { return float64(s.Uplinks[v]) })
	})
	gauge("macula_table_doubtful", "Contacts in the routing table that are doubtful", func(s *State) float64 { return float64(s.Table.Doubtful) })
	gauge("macula_table_guests", "Erlang nodes that have CONNECTed and are connected, each once", func(s *State) float64 { return float64(s.Table.Guests) })
	gauge("macula_clients", "Nodes of either kind that have CONNECTed on a stream that stays", func(s *State) float64 { return float64(s.Clients) })

	gauge("macula_records_keys", "Keys with at least one record", func(s *State) float64 { return float64(s.Records.Keys) })
	add(prometheus.GaugeValue, "macula_records", "Records that are stored: owned, which only their provider replaces, and others", "kind", func(s *State) []sample {
		return owned(s.Records.Records, s.Records.OwnedRecords)
	})
	add(prometheus.GaugeValue, "macula_records_bytes", "What records cost in memory", "kind", func(s *State) []sample {
		return owned(s.Records.Bytes, s.Records.OwnedBytes)
	})
	gauge("macula_records_limit_bytes", "What records may cost in memory", func(s *State) float64 { return float64(s.Limit) })
	gauge("macula_adopter_records", "Records of Erlang nodes that are replicated", func(s *State) float64 { return float64(s.Adopted) })
	gauge("macula_disk_bytes", "What the files of the store take; 0 without one", func(s *State) float64 { return float64(s.DiskBytes) })
	gauge("macula_disk_limit_bytes", "What they may take", func(s *State) float64 { return float64(s.DiskLimit) })
	gauge("macula_store_failing", "Whether nothing new is acknowledged, as the store fails: 1 or 0", func(s *State) float64 { return float64(number(s.Failing)) })

	add(prometheus.CounterValue, "macula_dht_values_asked_total", "FIND_VALUEs that were answered with values, or without", "result", func(s *State) []sample {
		return []sample{{"hit", float64(s.DHT.Hits)}, {"miss", float64(s.DHT.Misses)}}
	})
	counter("macula_dht_stores_dropped_total", "STOREs that were not kept: bad, not the owner's, or over a budget", func(s *State) uint64 { return s.DHT.DroppedStores })
	add(prometheus.CounterValue, "macula_dht_providers_left_out_total", "Providers that were left out of replies: too long, or harmful to Erlang nodes", "reason", func(s *State) []sample {
		return []sample{{"length", float64(s.DHT.LeftOut)}, {"harmful", float64(s.DHT.Harmful)}}
	})
	add(prometheus.CounterValue, "macula_dht_connects_refused_total", "CONNECTs that were refused", "reason", func(s *State) []sample {
		known, all := uint64(0), uint64(0)
		for _, n := range s.Mux.TurnedAway {
			all += n
		}
		told := samplesOf(turnedAway, func(v string) float64 {
			known += s.Mux.TurnedAway[v]
			return float64(s.Mux.TurnedAway[v])
		})
		return append(told, sample{other, float64(all - known)})
	})
	counter("macula_dht_frames_spared_total", "Frames of Erlang nodes that would have ended their stream, had it not to be kept", func(s *State) uint64 { return s.Mux.Spared })

	gauge("macula_pool_connections", "Connections of both transports", func(s *State) float64 { return float64(s.Pool.Conns) })
	gauge("macula_pool_streams", "Streams on them", func(s *State) float64 { return float64(s.Pool.Streams) })
	gauge("macula_pool_peers", "Peers, and addresses of Erlang nodes, that have connections", func(s *State) float64 { return float64(s.Pool.Peers) })
	gauge("macula_pool_groups", "IP groups that have connections", func(s *State) float64 { return float64(s.Pool.Groups) })
	add(prometheus.GaugeValue, "macula_pool_bytes", "What connections cost in memory: by themselves, and what is buffered on them", "kind", func(s *State) []sample {
		return []sample{{"fixed", float64(s.Pool.Memory)}, {"buffered", float64(s.Pool.Buffered)}}
	})
	counter("macula_pool_gave_way_total", "Connections that were closed for others", func(s *State) uint64 { return s.Pool.GaveWay })
	gauge("macula_pool_handshakes", "Handshakes that are under way", func(s *State) float64 { return float64(s.Pool.Handshakes.UnderWay) })
	add(prometheus.CounterValue, "macula_pool_handshakes_total", "Handshakes: begun, told to prove their address first, or refused as too many", "result", func(s *State) []sample {
		h := s.Pool.Handshakes
		return []sample{{"begun", float64(h.Begun)}, {"retried", float64(h.Retried)}, {"refused", float64(h.Refused)}}
	})
	add(prometheus.CounterValue, "macula_access_refused_total", "Connections that the lists of who may come kept away", "reason", func(s *State) []sample {
		return []sample{{"denied", float64(s.Access.Denied)}, {"not_allowed", float64(s.Access.NotAllowed)}}
	})

	gauge("macula_topics_subscriptions", "Subscriptions here", func(s *State) float64 { return float64(s.Topics.Subscriptions) })
	gauge("macula_topics_remembered", "Topics that are remembered", func(s *State) float64 { return float64(s.Topics.Topics) })
	gauge("macula_topics_nodes", "Other nodes that something is being sent to", func(s *State) float64 { return float64(s.Topics.Nodes) })
	counter("macula_topics_untold_total", "Subscriptions of which others are not told, as there are too many", func(s *State) uint64 { return s.Topics.Untold })
	gauge("macula_calls_pending", "Calls that are under way", func(s *State) float64 { return float64(s.Calls.Pending) })
	gauge("macula_calls_procedures", "Procedures that are served, or registered by a client", func(s *State) float64 { return float64(s.Calls.Procedures) })
	counter("macula_calls_requests_total", "RPC_REQUESTs that went from an Erlang node to another as they came", func(s *State) uint64 { return s.Calls.Requests })
	add(prometheus.CounterValue, "macula_calls_frames_dropped_total", "Frames of calls that were dropped: answers that nobody waits for, or harmful to Erlang nodes", "reason", func(s *State) []sample {
		return []sample{{"stray", float64(s.Calls.Stray)}, {"harmful", float64(s.Calls.Harmful)}}
	})
	return s
}

func samplesOf[K ~string](values []K, of func(K) float64) []sample {
	all := make([]sample, len(values))
	for i, v := range values {
		all[i] = sample{string(v), of(v)}
	}
	return all
}

// owned parts what is owned from the rest.
func owned(all, of int64) []sample {
	return []sample{{"owned", float64(of)}, {"unowned", float64(max(all-of, 0))}}
}

// inAnyCase is how many of the families are told while there is nothing else to tell.
const inAnyCase = 2

// Describe implements prometheus.Collector.
func (s *state) Describe(to chan<- *prometheus.Desc) {
	for i := range s.all {
		to <- s.all[i].desc
	}
}

// Collect implements prometheus.Collector.
func (s *state) Collect(to chan<- prometheus.Metric) {
	now, is := s.now()
	all := s.all
	if !is {
		all = all[:inAnyCase]
	}
	for _, r := range all {
		for _, v := range r.of(&now) {
			if v.label == "" {
				to <- prometheus.MustNewConstMetric(r.desc, r.kind, v.value)
			} else {
				to <- prometheus.MustNewConstMetric(r.desc, r.kind, v.value, v.label)
			}
		}
	}
}
