package metrics

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/uplink"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/replication"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newMetrics(t testing.TB) (*Metrics, *prometheus.Registry) {
	r := prometheus.NewRegistry()
	m, err := New(r, "test", func() (State, bool) {
		s := State{Mux: server.MuxStats{TurnedAway: make(map[string]uint64)}, Uplinks: make(map[uplink.State]int), Begun: make(map[string]int)}
		for i := range 1000 {
			s.Mux.TurnedAway[hostile(i)] = 1
			s.Uplinks[uplink.State(hostile(i))] = 1
			s.Begun[hostile(i)] = 1
		}
		return s, true
	})
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m, r
}

func hostile(i int) string { return fmt.Sprintf("12D3KooW\xff\n%d", i) }

func series(t *testing.T, r *prometheus.Registry) (n int) {
	all, err := r.Gather()
	require.NoError(t, err)
	for _, f := range all {
		n += len(f.GetMetric())
	}
	return n
}

// flood tells each tracer what no honest node would tell it.
func flood(m *Metrics, i int) {
	h, took := hostile(i), time.Duration(i)
	m.Server.StreamOpened(h)
	m.Server.StreamEnded(h, proto.ResetCode(i), i%2 == 0, took)
	for _, dialect := range []string{libp2p, erlang, h} {
		for _, r := range append(frameResults, server.FrameResult(h)) {
			m.Server.FrameReceived(dialect, wire.Type(i), r, took)
		}
	}
	m.Server.PushDropped(server.DropReason(h))
	m.Client.RequestDone(wire.Type(i), proto.Result(h), took)
	m.Client.StreamDone(proto.Result(h), took)
	m.Dialer.DialCompleted(took, dialer.Result(h))
	m.Dialer.RequestCompleted(wire.Type(i), took, dialer.Result(h))
	m.Dialer.BackoffStarted(took)
	m.Dialer.AnswerDropped(wire.Type(i), i)
	m.Lookups.LookupDone(lookup.Kind(h), lookup.Result(h), took, i, i)
	m.Lookups.QueryDone(wire.Type(i), lookup.Result(h), took)
	m.Routing.TableSize(i, i)
	m.Upkeep.HandedOver(true)
	m.Resolver.Answered(resolver.Outcome(h))
	m.Resolver.Refused(resolver.Refusal(h))
	m.Resolver.LookedUp(true, false, took)
	m.Adopter.Dropped(replication.DropReason(h))
	m.Adopter.Replicated(i, errors.New(h), took)
	m.Service.Published(i, errors.New(h))
	m.Records.Refused(records.Refusal(h))
	m.Records.Evicted(records.Eviction(h))
	m.Disk.Failed(errors.New(h))
	m.Topics.Dropped(pubsub.DropReason(h), i)
	m.Calls.CallDone(rpc.Result(h), took)
	m.Gateway.ConnectionRefused(gateway.RefusalReason(h))
	m.Calls.CallRefused(rpc.Refusal(h))
	m.Uplinks.Looked(endpoints.Endpoint{Host: h}, uplink.LookResult(h))
	m.Uplinks.SessionDown(endpoints.Endpoint{Host: h}, took, uplink.DownReason(h))
}

// Whatever is sent, there are no more series than the types, results and reasons that the
// program knows, and one for what it does not.
func TestSeriesAreBounded(t *testing.T) {
	m, r := newMetrics(t)
	for i := range 256 {
		flood(m, i)
	}
	n := series(t, r)
	for i := range 5000 {
		flood(m, i)
	}
	require.Equal(t, n, series(t, r))
	require.Less(t, n, 4000) // types by results, for the most part
	t.Logf("%d series at most", n)
}

func TestUnknownTypesAreOne(t *testing.T) {
	m, r := newMetrics(t)
	for i := range 256 {
		m.Server.FrameReceived(libp2p, wire.Type(i), server.FrameHandled, 0)
	}
	all, err := r.Gather()
	require.NoError(t, err)
	known, unknown := 0, 0.0
	for _, f := range all {
		if f.GetName() != "macula_dht_requests_total" {
			continue
		}
		for _, c := range f.GetMetric() {
			labels := make(map[string]string)
			for _, l := range c.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			switch {
			case labels["result"] != string(server.FrameHandled):
			case labels["type"] == "unknown":
				unknown += c.GetCounter().GetValue()
			default:
				require.Equal(t, 1.0, c.GetCounter().GetValue())
				known++
			}
		}
	}
	require.Equal(t, 54, known)
	require.Equal(t, 256.0-54, unknown)
}

// Each value that a package gives a type of its tracer is known here, so that "other" is
// never what it says.
func TestAllValuesAreKnown(t *testing.T) {
	for _, of := range []struct {
		dir, typ string
		known    []string
	}{
		{"protocols/maculadht/server", "FrameResult", texts(frameResults)},
		{"protocols/maculadht/server/outbox", "DropReason", texts(pushDrops)},
		{"protocols/maculadht/proto", "Result", texts(askedResults)},
		{"compat/dialer", "Result", texts(dialResults)},
		{"protocols/maculadht/routing/lookup", "Kind", texts(lookupKinds)},
		{"protocols/maculadht/routing/lookup", "Result", texts(lookupResults)},
		{"protocols/maculadht/resolver", "Outcome", texts(resolverOutcomes)},
		{"protocols/maculadht/resolver", "Refusal", texts(resolverRefusals)},
		{"protocols/maculadht/replication", "DropReason", texts(adopterDrops)},
		{"protocols/maculadht/records", "Refusal", texts(recordRefusals)},
		{"protocols/maculadht/records", "Eviction", texts(evictions)},
		{"protocols/pubsub", "DropReason", texts(topicDrops)},
		{"protocols/rpc", "Result", texts(callResults)},
		{"compat/gateway", "RefusalReason", texts(gatewayRefusals)},
		{"compat/uplink", "LookResult", texts(lookResults)},
		{"compat/uplink", "DownReason", texts(downReasons)},
		{"compat/uplink", "State", texts(uplinkStates)},
	} {
		require.ElementsMatch(t, constants(t, of.dir, of.typ), of.known, "%s.%s", of.dir, of.typ)
	}
	for code, name := range resetCodes {
		require.NotEmpty(t, name, proto.ResetCode(code))
	}
}

func texts[K ~string](all []K) (out []string) {
	for _, v := range all {
		out = append(out, string(v))
	}
	return out
}

// constants returns the values of the constants of a type, in a package of this module.
func constants(t *testing.T, dir, typ string) (values []string) {
	files, err := filepath.Glob(filepath.Join("../../..", dir, "*.go"))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		f, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			v, is := n.(*ast.ValueSpec)
			if !is {
				return true
			}
			if of, is := v.Type.(*ast.Ident); is && of.Name == typ {
				for _, e := range v.Values {
					value, err := strconv.Unquote(e.(*ast.BasicLit).Value)
					require.NoError(t, err)
					values = append(values, value)
				}
			}
			return true
		})
	}
	require.NotEmpty(t, values, "%s has no %s", dir, typ)
	return values
}

func TestHotPathAllocatesNothing(t *testing.T) {
	m, _ := newMetrics(t)
	m.Server.FrameReceived(erlang, wire.TypePing, server.FrameHandled, 0)
	m.Client.RequestDone(wire.TypePing, proto.ResultOK, 0)
	m.Dialer.RequestCompleted(wire.TypePing, 0, dialer.ResultOK)
	for name, f := range map[string]func(){
		"frame":   func() { m.Server.FrameReceived(erlang, wire.TypePing, server.FrameHandled, time.Millisecond) },
		"stream":  func() { m.Server.StreamOpened(libp2p); m.Server.StreamEnded(libp2p, 0, true, time.Second) },
		"request": func() { m.Client.RequestDone(wire.TypePing, proto.ResultOK, time.Millisecond) },
		"dialled": func() { m.Dialer.RequestCompleted(wire.TypePing, time.Millisecond, dialer.ResultOK) },
		"record":  func() { m.Records.Stored(true); m.Records.Refused(records.RefusedFar); m.Records.Changed(1, 1, 1) },
		"batch":   func() { m.Disk.Committed(10, 1000, true, time.Millisecond) },
		"message": func() {
			m.Topics.Published(true)
			m.Topics.Delivered(3)
			m.Topics.Dropped(pubsub.DropSlow, 1)
			m.Topics.Sent()
		},
		"call":   func() { m.Calls.CallDone(rpc.ResultAnswered, time.Millisecond) },
		"lookup": func() { m.Lookups.LookupDone(lookup.KindValues, lookup.ResultOK, time.Second, 3, 2) },
	} {
		require.Zero(t, testing.AllocsPerRun(100, f), name)
	}
}

// none is what a Mux has by default.
type none struct{}

func (none) StreamOpened(string)                                                {}
func (none) StreamEnded(string, proto.ResetCode, bool, time.Duration)           {}
func (none) FrameReceived(string, wire.Type, server.FrameResult, time.Duration) {}
func (none) PushDropped(server.DropReason)                                      {}

func BenchmarkFrameReceived(b *testing.B) {
	m, _ := newMetrics(b)
	for name, tracer := range map[string]server.MetricsTracer{"none": none{}, "prometheus": m.Server} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tracer.FrameReceived(libp2p, wire.TypeFindValue, server.FrameHandled, 100*time.Microsecond)
			}
		})
	}
}
