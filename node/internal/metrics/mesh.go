package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

var (
	topicDrops = []pubsub.DropReason{
		pubsub.DropBusy, pubsub.DropRefused, pubsub.DropSlow, pubsub.DropUnsent, pubsub.DropUnasked, pubsub.DropIncomplete, pubsub.DropUnmet, pubsub.DropMisrouted,
	}
	callResults     = []rpc.Result{rpc.ResultAnswered, rpc.ResultFailed, rpc.ResultLate}
	callRefusals    = []rpc.Refusal{rpc.RefusedCaller, rpc.RefusedAll, rpc.RefusedProvider}
	gatewayRefusals = []gateway.RefusalReason{gateway.RefusedGated, gateway.RefusedResources, gateway.RefusedClosing}
	lookResults     = []uplink.LookResult{uplink.LookOK, uplink.LookUnlisted, uplink.LookTwoRealms, uplink.LookOtherRealm, uplink.LookFailed}
	downReasons     = []uplink.DownReason{
		uplink.DownClosed, uplink.DownDisconnected, uplink.DownNoReply, uplink.DownRestarted, uplink.DownUnlistable, uplink.DownMoved, uplink.DownLost,
	}
)

// topics implements pubsub.MetricsTracer.
type topics struct {
	here, elsewhere prometheus.Counter
	delivered, sent prometheus.Counter
	dropped         counters[pubsub.DropReason]
}

func newTopics(f *family) *topics {
	published := f.counterVec("macula_topics_published_total", "Messages that were taken: published here, or received of another node", "from")
	return &topics{
		here: published.WithLabelValues("here"), elsewhere: published.WithLabelValues("elsewhere"),
		delivered: f.counter("macula_topics_delivered_total", "Copies of messages that subscribers here were handed"),
		sent:      f.counter("macula_topics_sent_total", "Copies of messages that other nodes were sent"),
		dropped:   countersOf(f, "macula_topics_dropped_total", "Messages and subscriptions that came to nothing", "reason", topicDrops),
	}
}

// Published implements pubsub.MetricsTracer.
func (t *topics) Published(fromElsewhere bool) {
	if fromElsewhere {
		t.elsewhere.Inc()
	} else {
		t.here.Inc()
	}
}

// Delivered implements pubsub.MetricsTracer.
func (t *topics) Delivered(copies int) { t.delivered.Add(float64(copies)) }

// Sent implements pubsub.MetricsTracer.
func (t *topics) Sent() { t.sent.Inc() }

// Dropped implements pubsub.MetricsTracer.
func (t *topics) Dropped(why pubsub.DropReason, n int) { t.dropped.get(why).Add(float64(n)) }

// calls implements rpc.MetricsTracer.
type calls struct {
	done     *results[rpc.Result]
	refused  counters[rpc.Refusal]
	passedOn prometheus.Counter
}

func newCalls(f *family) *calls {
	return &calls{
		done: resultsOf(
			f.counterVec("macula_calls_total", "Calls that were taken and are over", "result"),
			f.histogramVec("macula_call_duration_seconds", "How long calls took", waiting), callResults),
		refused:  countersOf(f, "macula_calls_refused_total", "Calls that were answered busy, by whose share was used up", "reason", callRefusals),
		passedOn: f.counter("macula_calls_passed_on_total", "Calls that were passed on to another node"),
	}
}

// CallDone implements rpc.MetricsTracer.
func (c *calls) CallDone(r rpc.Result, took time.Duration) { c.done.done(r, took.Seconds()) }

// CallRefused implements rpc.MetricsTracer.
func (c *calls) CallRefused(why rpc.Refusal) { c.refused.get(why).Inc() }

// PassedOn implements rpc.MetricsTracer.
func (c *calls) PassedOn() { c.passedOn.Inc() }

// guests implements gateway.MetricsTracer.
type guests struct {
	opened, begun          prometheus.Counter
	open, sessions         prometheus.Gauge
	lasted, sessionsLasted prometheus.Observer
	refused                counters[gateway.RefusalReason]
}

func newGuests(f *family) *guests {
	return &guests{
		opened:         f.counter("macula_erlang_connections_total", "Connections of Erlang nodes that were served"),
		open:           f.gauge("macula_erlang_connections", "Connections of Erlang nodes that are being served"),
		lasted:         f.histogram("macula_erlang_connection_duration_seconds", "How long these connections lasted", living),
		refused:        countersOf(f, "macula_erlang_refused_total", "Connections of Erlang nodes that were not served", "reason", gatewayRefusals),
		begun:          f.counter("macula_erlang_sessions_total", "Sessions of Erlang nodes: connections on which they have CONNECTed"),
		sessions:       f.gauge("macula_erlang_sessions", "Sessions that there are"),
		sessionsLasted: f.histogram("macula_erlang_session_duration_seconds", "How long sessions lasted", living),
	}
}

// ConnectionOpened implements gateway.MetricsTracer.
func (g *guests) ConnectionOpened() {
	g.opened.Inc()
	g.open.Inc()
}

// ConnectionClosed implements gateway.MetricsTracer.
func (g *guests) ConnectionClosed(lasted time.Duration) {
	g.open.Dec()
	g.lasted.Observe(lasted.Seconds())
}

// ConnectionRefused implements gateway.MetricsTracer.
func (g *guests) ConnectionRefused(reason gateway.RefusalReason) { g.refused.get(reason).Inc() }

// SessionBegun implements gateway.MetricsTracer.
func (g *guests) SessionBegun() {
	g.begun.Inc()
	g.sessions.Inc()
}

// SessionEnded implements gateway.MetricsTracer.
func (g *guests) SessionEnded(lasted time.Duration) {
	g.sessions.Dec()
	g.sessionsLasted.Observe(lasted.Seconds())
}

// uplinks implements uplink.MetricsTracer. Gateways are told apart by the operator's
// configuration, and not here.
type uplinks struct {
	looked counters[uplink.LookResult]
	up     prometheus.Counter
	down   counters[uplink.DownReason]
	lasted prometheus.Observer
}

func newUplinks(f *family) *uplinks {
	return &uplinks{
		looked: countersOf(f, "macula_uplink_looks_total", "Looks at the gateways that are named, before a session", "result", lookResults),
		up:     f.counter("macula_uplink_sessions_total", "Sessions at named gateways that began"),
		down:   countersOf(f, "macula_uplink_sessions_ended_total", "Sessions at named gateways that ended", "reason", downReasons),
		lasted: f.histogram("macula_uplink_session_duration_seconds", "How long these sessions lasted", living),
	}
}

// Looked implements uplink.MetricsTracer.
func (u *uplinks) Looked(_ endpoints.Endpoint, r uplink.LookResult) { u.looked.get(r).Inc() }

// SessionUp implements uplink.MetricsTracer.
func (u *uplinks) SessionUp(endpoints.Endpoint) { u.up.Inc() }

// SessionDown implements uplink.MetricsTracer.
func (u *uplinks) SessionDown(_ endpoints.Endpoint, lasted time.Duration, why uplink.DownReason) {
	u.down.get(why).Inc()
	u.lasted.Observe(lasted.Seconds())
}

var (
	_ pubsub.MetricsTracer  = (*topics)(nil)
	_ rpc.MetricsTracer     = (*calls)(nil)
	_ gateway.MetricsTracer = (*guests)(nil)
	_ uplink.MetricsTracer  = (*uplinks)(nil)
)
