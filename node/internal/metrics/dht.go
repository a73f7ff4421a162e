package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/upkeep"
)

var (
	lookupKinds   = []lookup.Kind{lookup.KindNodes, lookup.KindValues}
	lookupResults = []lookup.Result{
		lookup.ResultOK, lookup.ResultNotFound, lookup.ResultRemote, lookup.ResultRefused, lookup.ResultUnreachable,
		lookup.ResultTimeout, lookup.ResultCancelled, lookup.ResultFailed,
	}
	resolverOutcomes = []resolver.Outcome{resolver.OutcomeFound, resolver.OutcomeMissed, resolver.OutcomePartial, resolver.OutcomeLate}
	resolverRefusals = []resolver.Refusal{
		resolver.RefusedLookups, resolver.RefusedGaveWay, resolver.RefusedLookupsGroup, resolver.RefusedSource,
		resolver.RefusedWaiters, resolver.RefusedWaitersGroup, resolver.RefusedWaitersSource,
	}
	adopterDrops = []replication.DropReason{
		replication.DropEnded, replication.DropSource, replication.DropGroup, replication.DropFull, replication.DropGateway, replication.DropUnwanted,
	}
)

// lookups implements lookup.MetricsTracer.
type lookups struct {
	nodes, values *lookupsOf
	questions     *byType[lookup.Result]
	proofFailed   prometheus.Counter
}

type lookupsOf struct {
	done        *results[lookup.Result]
	asked, hops prometheus.Observer
}

func newLookups(f *family) *lookups {
	counts := f.counterVec("macula_lookups_total", "Lookups that ended", "kind", "result")
	took := f.histogramVec("macula_lookup_duration_seconds", "How long lookups took", waiting, "kind")
	asked := f.histogramVec("macula_lookup_asked", "How many contacts lookups asked", sizes, "kind")
	far := f.histogramVec("macula_lookup_hops", "Over how many hops lookups went: 1 where only contacts of the own table were asked", hops, "kind")
	of := func(kind lookup.Kind) *lookupsOf {
		k := string(kind)
		return &lookupsOf{resultsOf(counts, took, lookupResults, k), asked.WithLabelValues(k), far.WithLabelValues(k)}
	}
	questions := &byType[lookup.Result]{
		values: lookupResults,
		counts: f.counterVec("macula_lookup_questions_total", "What lookups and the upkeep asked contacts, over either transport", "type", "result"),
		took:   f.histogramVec("macula_lookup_question_duration_seconds", "How long contacts took to answer lookups and the upkeep", waiting, "type"),
	}
	return &lookups{
		nodes: of(lookupKinds[0]), values: of(lookupKinds[1]), questions: questions,
		proofFailed: f.counter("macula_lookup_proofs_failed_total", "Proofs in answers that did not hold"),
	}
}

// LookupDone implements lookup.MetricsTracer.
func (l *lookups) LookupDone(kind lookup.Kind, r lookup.Result, took time.Duration, asked, hops int) {
	of := l.values
	if kind == lookup.KindNodes {
		of = l.nodes
	}
	of.done.done(r, took.Seconds())
	of.asked.Observe(float64(asked))
	of.hops.Observe(float64(hops))
}

// QueryDone implements lookup.MetricsTracer.
func (l *lookups) QueryDone(question wire.Type, r lookup.Result, took time.Duration) {
	l.questions.done(question, r, took.Seconds())
}

// ProofFailed implements lookup.MetricsTracer.
func (l *lookups) ProofFailed() { l.proofFailed.Inc() }

// table implements routing.MetricsTracer.
type table struct{ peers, erlang prometheus.Gauge }

func newTable(f *family) *table {
	size := kept(f, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "macula_table_contacts", Help: "Contacts in the routing table, by kind"}, []string{"kind"}))
	return &table{peers: size.WithLabelValues(libp2p), erlang: size.WithLabelValues("erlang")}
}

// TableSize implements routing.MetricsTracer.
func (t *table) TableSize(peers, erlang int) {
	t.peers.Set(float64(peers))
	t.erlang.Set(float64(erlang))
}

// handover implements upkeep.MetricsTracer.
type handover struct{ taken, refused prometheus.Counter }

func newHandover(f *family) *handover {
	records := f.counterVec("macula_upkeep_handed_over_total", "Records that newcomers were offered", "result")
	return &handover{taken: records.WithLabelValues("taken"), refused: records.WithLabelValues("refused")}
}

// HandedOver implements upkeep.MetricsTracer.
func (h *handover) HandedOver(taken bool) {
	if taken {
		h.taken.Inc()
	} else {
		h.refused.Inc()
	}
}

// resolving implements resolver.MetricsTracer.
type resolving struct {
	answered  counters[resolver.Outcome]
	refused   counters[resolver.Refusal]
	lookups   [2][2]prometheus.Counter // by refresh and found
	took      prometheus.Observer
	keys, mem prometheus.Gauge
}

func newResolving(f *family) *resolving {
	r := &resolving{
		answered: countersOf(f, "macula_resolver_answers_total", "Answers to Erlang nodes that waited for a lookup, by what that had found", "outcome", resolverOutcomes),
		refused:  countersOf(f, "macula_resolver_refused_total", "Keys that were not looked up for Erlang nodes, or not waited for, by the limit", "limit", resolverRefusals),
		took:     f.histogram("macula_resolver_lookup_duration_seconds", "How long lookups for Erlang nodes took", waiting),
		keys:     f.gauge("macula_resolver_cached_keys", "Keys of which it is remembered what the network has"),
		mem:      f.gauge("macula_resolver_cached_bytes", "What these keys cost"),
	}
	made := f.counterVec("macula_resolver_lookups_total", "Lookups for Erlang nodes: asked for, or a refresh", "cause", "result")
	for i, cause := range []string{"question", "refresh"} {
		for j, result := range []string{"missed", "found"} {
			r.lookups[i][j] = made.WithLabelValues(cause, result)
		}
	}
	return r
}

// Answered implements resolver.MetricsTracer.
func (r *resolving) Answered(o resolver.Outcome) { r.answered.get(o).Inc() }

// Refused implements resolver.MetricsTracer.
func (r *resolving) Refused(limit resolver.Refusal) { r.refused.get(limit).Inc() }

// LookedUp implements resolver.MetricsTracer.
func (r *resolving) LookedUp(refresh, found bool, took time.Duration) {
	r.lookups[number(refresh)][number(found)].Inc()
	r.took.Observe(took.Seconds())
}

// Changed implements resolver.MetricsTracer.
func (r *resolving) Changed(keys, bytes int) {
	r.keys.Add(float64(keys))
	r.mem.Add(float64(bytes))
}

// number is 1 for what is so.
func number(is bool) int {
	if is {
		return 1
	}
	return 0
}

// adopting implements replication.MetricsTracer.
type adopting struct {
	adopted      prometheus.Counter
	dropped      counters[replication.DropReason]
	held         prometheus.Counter
	done, failed prometheus.Counter
	took         prometheus.Observer
}

func newAdopting(f *family) *adopting {
	replicated := f.counterVec("macula_adopter_replications_total", "Times that a record of an Erlang node was put on other nodes", "result")
	return &adopting{
		adopted: f.counter("macula_adopter_adopted_total", "Records of Erlang nodes that began to be replicated"),
		dropped: countersOf(f, "macula_adopter_dropped_total", "Records of Erlang nodes that are not replicated, or not any more", "reason", adopterDrops),
		held:    f.counter("macula_adopter_held_total", "Times that a record had to wait, as its source had used up its bytes"),
		done:    replicated.WithLabelValues("ok"), failed: replicated.WithLabelValues("failed"),
		took: f.histogram("macula_adopter_replication_duration_seconds", "How long it took to put a record on other nodes", waiting),
	}
}

// Adopted implements replication.MetricsTracer.
func (a *adopting) Adopted() { a.adopted.Inc() }

// Dropped implements replication.MetricsTracer.
func (a *adopting) Dropped(why replication.DropReason) { a.dropped.get(why).Inc() }

// Held implements replication.MetricsTracer.
func (a *adopting) Held() { a.held.Inc() }

// Replicated implements replication.MetricsTracer.
func (a *adopting) Replicated(_ int, err error, took time.Duration) {
	if err != nil {
		a.failed.Inc()
	} else {
		a.done.Inc()
	}
	a.took.Observe(took.Seconds())
}

// service implements maculadht.MetricsTracer.
type service struct {
	came              prometheus.Counter
	stayed            prometheus.Observer
	joined            prometheus.Counter
	published, failed prometheus.Counter
	acknowledged      prometheus.Observer
}

func newService(f *family) *service {
	publications := f.counterVec("macula_publications_total", "Publications of own advertisements", "result")
	return &service{
		came:      f.counter("macula_peers_admitted_total", "Libp2p peers that were admitted to the table"),
		stayed:    f.histogram("macula_peer_stay_seconds", "How long admitted peers were connected", living),
		joined:    f.counter("macula_joins_total", "Times that the table was filled from the bootstrap peers"),
		published: publications.WithLabelValues("ok"), failed: publications.WithLabelValues("failed"),
		acknowledged: f.histogram("macula_publication_copies", "How many nodes acknowledged a publication", sizes),
	}
}

// PeerCame implements maculadht.MetricsTracer.
func (s *service) PeerCame() { s.came.Inc() }

// PeerLeft implements maculadht.MetricsTracer.
func (s *service) PeerLeft(after time.Duration) { s.stayed.Observe(after.Seconds()) }

// Joined implements maculadht.MetricsTracer.
func (s *service) Joined(int) { s.joined.Inc() }

// Published implements maculadht.MetricsTracer.
func (s *service) Published(acknowledged int, err error) {
	if err != nil {
		s.failed.Inc()
	} else {
		s.published.Inc()
	}
	s.acknowledged.Observe(float64(acknowledged))
}

var (
	_ lookup.MetricsTracer      = (*lookups)(nil)
	_ routing.MetricsTracer     = (*table)(nil)
	_ upkeep.MetricsTracer      = (*handover)(nil)
	_ resolver.MetricsTracer    = (*resolving)(nil)
	_ replication.MetricsTracer = (*adopting)(nil)
	_ maculadht.MetricsTracer   = (*service)(nil)
)
