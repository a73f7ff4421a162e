package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// The transports, by the names of their dialects.
const (
	libp2p = "libp2p"
	erlang = "macula"
)

var (
	frameResults = []server.FrameResult{server.FrameHandled, server.FrameDropped, server.FrameBusy, server.FrameFatal, server.FrameUnmet}
	pushDrops    = []server.DropReason{server.DropSlow, server.DropMemory, server.DropEnded}
	askedResults = []proto.Result{
		proto.ResultOK, proto.ResultBusy, proto.ResultRemote, proto.ResultRefused, proto.ResultTimeout, proto.ResultCanceled,
		proto.ResultUnreachable, proto.ResultInvalid, proto.ResultClosed, proto.ResultFailed,
	}
	dialResults = []dialer.Result{
		dialer.ResultOK, dialer.ResultRemoteError, dialer.ResultTimeout, dialer.ResultCanceled, dialer.ResultBackoff, dialer.ResultLimited,
		dialer.ResultBusy, dialer.ResultCertificate, dialer.ResultNotSent, dialer.ResultClosed, dialer.ResultUnreachable,
	}
	resetCodes = [proto.MaxResetCode + 1]string{
		proto.ResetGone: "gone", proto.ResetBadVersion: "bad_version", proto.ResetTooLarge: "too_large", proto.ResetBadMsgpack: "bad_msgpack",
		proto.ResetNotMap: "not_map", proto.ResetTimeout: "timeout", proto.ResetWrongReply: "wrong_reply", proto.ResetRefused: "refused",
		proto.ResetShutdown: "shutdown", proto.ResetConnectFirst: "connect_first",
	}
)

// streams implements server.MetricsTracer.
type streams struct {
	libp2p, erlang *streamsOf
	pushDropped    counters[server.DropReason]
}

// streamsOf are those of one transport.
type streamsOf struct {
	opened   prometheus.Counter
	open     prometheus.Gauge
	ended    [proto.MaxResetCode + 1]prometheus.Counter
	inOrder  prometheus.Counter
	lasted   prometheus.Observer
	requests byType[server.FrameResult]
}

func newStreams(f *family) *streams {
	opened := f.counterVec("macula_dht_streams_opened_total", "Streams that were served", "transport")
	open := kept(f, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "macula_dht_streams", Help: "Streams that are being served"}, []string{"transport"}))
	ended := f.counterVec("macula_dht_streams_ended_total", "Streams that ended, by how: ok, or why they were reset", "transport", "result")
	lasted := f.histogramVec("macula_dht_stream_duration_seconds", "How long streams were served", living, "transport")
	counts := f.counterVec("macula_dht_requests_total", "Frames that were received", "type", "transport", "result")
	took := f.histogramVec("macula_dht_request_duration_seconds", "How long the handlers of received frames took; an answer may come later", handling, "type", "transport")
	of := func(transport string) *streamsOf {
		s := &streamsOf{
			opened: opened.WithLabelValues(transport), open: open.WithLabelValues(transport),
			inOrder: ended.WithLabelValues(transport, "ok"), lasted: lasted.WithLabelValues(transport),
			requests: byType[server.FrameResult]{transport: []string{transport}, counts: counts, took: took, values: frameResults},
		}
		for code, name := range resetCodes {
			s.ended[code] = ended.WithLabelValues(transport, name)
		}
		return s
	}
	return &streams{
		libp2p: of(libp2p), erlang: of(erlang),
		pushDropped: countersOf(f, "macula_dht_pushes_dropped_total", "Pushed frames that were not written", "reason", pushDrops),
	}
}

func (s *streams) of(dialect string) *streamsOf {
	if dialect == erlang {
		return s.erlang
	}
	return s.libp2p
}

// StreamOpened implements server.MetricsTracer.
func (s *streams) StreamOpened(dialect string) {
	of := s.of(dialect)
	of.opened.Inc()
	of.open.Inc()
}

// StreamEnded implements server.MetricsTracer.
func (s *streams) StreamEnded(dialect string, code proto.ResetCode, ok bool, lasted time.Duration) {
	of := s.of(dialect)
	of.open.Dec()
	of.lasted.Observe(lasted.Seconds())
	switch {
	case ok:
		of.inOrder.Inc()
	case int(code) < len(of.ended):
		of.ended[code].Inc()
	}
}

// FrameReceived implements server.MetricsTracer.
func (s *streams) FrameReceived(dialect string, t wire.Type, r server.FrameResult, took time.Duration) {
	s.of(dialect).requests.done(t, r, took.Seconds())
}

// PushDropped implements server.MetricsTracer.
func (s *streams) PushDropped(why server.DropReason) { s.pushDropped.get(why).Inc() }

// queries are what others are asked, over both transports.
type queries struct {
	count *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newQueries(f *family) queries {
	return queries{
		count: f.counterVec("macula_dht_queries_total", "Requests that were sent, or could not be", "type", "transport", "result"),
		took:  f.histogramVec("macula_dht_query_duration_seconds", "How long who sent a request waited", waiting, "type", "transport"),
	}
}

// asking implements client.MetricsTracer.
type asking struct {
	queries byType[proto.Result]
	streams *results[proto.Result]
}

func newAsking(f *family, q queries) *asking {
	return &asking{
		queries: byType[proto.Result]{transport: []string{libp2p}, counts: q.count, took: q.took, values: askedResults},
		streams: resultsOf(
			f.counterVec("macula_dht_client_streams_total", "Streams to libp2p peers that were opened, or could not be", "result"),
			f.histogramVec("macula_dht_client_stream_duration_seconds", "How long it took to open a stream to a libp2p peer, dialling it included", waiting),
			askedResults),
	}
}

// RequestDone implements client.MetricsTracer.
func (a *asking) RequestDone(t wire.Type, r proto.Result, waited time.Duration) {
	a.queries.done(t, r, waited.Seconds())
}

// StreamDone implements client.MetricsTracer.
func (a *asking) StreamDone(r proto.Result, took time.Duration) { a.streams.done(r, took.Seconds()) }

// dialling implements dialer.MetricsTracer.
type dialling struct {
	queries  byType[dialer.Result]
	dials    *results[dialer.Result]
	backoffs prometheus.Counter
	dropped  prometheus.Counter
}

func newDialling(f *family, q queries) *dialling {
	return &dialling{
		queries: byType[dialer.Result]{transport: []string{erlang}, counts: q.count, took: q.took, values: dialResults},
		dials: resultsOf(
			f.counterVec("macula_dialer_dials_total", "Connections to Erlang nodes that were dialled, retries included", "result"),
			f.histogramVec("macula_dialer_dial_duration_seconds", "How long it took to dial an Erlang node", waiting), dialResults),
		backoffs: f.counter("macula_dialer_backoffs_total", "Erlang nodes that were left alone for a while, as they did not answer in time"),
		dropped:  f.counter("macula_dialer_answers_dropped_total", "Answers that were longer than an Erlang node can take"),
	}
}

// DialCompleted implements dialer.MetricsTracer.
func (d *dialling) DialCompleted(took time.Duration, r dialer.Result) {
	d.dials.done(r, took.Seconds())
}

// RequestCompleted implements dialer.MetricsTracer.
func (d *dialling) RequestCompleted(t wire.Type, took time.Duration, r dialer.Result) {
	d.queries.done(t, r, took.Seconds())
}

// BackoffStarted implements dialer.MetricsTracer.
func (d *dialling) BackoffStarted(time.Duration) { d.backoffs.Inc() }

// AnswerDropped implements dialer.MetricsTracer.
func (d *dialling) AnswerDropped(wire.Type, int) { d.dropped.Inc() }

var (
	_ server.MetricsTracer = (*streams)(nil)
	_ client.MetricsTracer = (*asking)(nil)
	_ dialer.MetricsTracer = (*dialling)(nil)
)
