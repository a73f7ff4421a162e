package node

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/rpc"
)

var updateDocs = flag.Bool("update-metrics", false, "write the table of metrics in docs/OPERATIONS.md")

// families are gathered metrics by name.
type families map[string]*dto.MetricFamily

func gather(t *testing.T, g prometheus.Gatherer) families {
	t.Helper()
	all, err := g.Gather()
	require.NoError(t, err)
	f := make(families)
	for _, one := range all {
		f[one.GetName()] = one
	}
	return f
}

// sum adds up the series of a counter, a gauge, or the counts of a histogram, that have
// all of the labels, written name=value.
func (f families) sum(name string, labels ...string) (sum float64) {
	for _, m := range f[name].GetMetric() {
		var has []string
		for _, l := range m.GetLabel() {
			has = append(has, l.GetName()+"="+l.GetValue())
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(has, l) }) {
			continue
		}
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return sum
}

// usedNodes are two nodes that have asked one another all there is, over both transports.
func usedNodes(t *testing.T) (a, b *Node) {
	a = startNode(t, func(c *Config) { c.DataDir, c.Durable = t.TempDir(), true })
	b = startNode(t, bootstrappedBy(a))
	require.Eventually(t, func() bool { return a.knows(b) && b.knows(a) }, 2*patience, tick)
	ctx := patient(t)
	to, _ := b.Service().Routing().Contact(a.ID())

	before := gather(t, a.Gatherer())
	for _, by := range []struct {
		network   routing.Network
		contact   routing.Contact
		transport string
	}{{b.Service().Client(), to, "transport=libp2p"}, {b.Dialer(), erlangContact(a), "transport=macula"}} {
		asked := gather(t, b.Gatherer())
		for i := range 3 {
			require.NoError(t, client.Put(ctx, by.network, by.contact, procedures.StoreArgs{Key: fmt.Append(nil, "k", i), Value: provider(by.transport)}))
			_, err := client.Ping(ctx, by.network, by.contact)
			require.NoError(t, err)
		}
		for range 2 {
			_, err := client.FindValue(ctx, by.network, by.contact, []byte("k0"))
			require.NoError(t, err)
		}
		after, now := gather(t, a.Gatherer()), gather(t, b.Gatherer())
		for typ, want := range map[string]float64{"type=call": 3, "type=ping": 3, "type=find_value": 2} {
			delta := func(was, is families, name string, more ...string) float64 {
				labels := append([]string{typ, by.transport}, more...)
				return is.sum(name, labels...) - was.sum(name, labels...)
			}
			require.Equal(t, want, delta(before, after, "macula_dht_requests_total", "result=handled"), "%s %s", typ, by.transport)
			require.Equal(t, want, delta(before, after, "macula_dht_request_duration_seconds"))
			require.Equal(t, want, delta(asked, now, "macula_dht_queries_total", "result=ok"))
			require.Equal(t, want, delta(asked, now, "macula_dht_query_duration_seconds"))
		}
	}
	after := gather(t, a.Gatherer())
	require.Equal(t, 6.0, after.sum("macula_records_stored_total", "kind=new"))
	require.Equal(t, 4.0, after.sum("macula_dht_values_asked_total", "result=hit"))
	require.Equal(t, 3.0, after.sum("macula_records_keys"))
	require.Equal(t, 6.0, after.sum("macula_records"))

	s, err := a.Topics().Subscribe(ctx, "news.*")
	require.NoError(t, err)
	select {
	case <-s.Announced():
	case <-ctx.Done():
		t.Fatal("b was not told of the subscription")
	}
	require.Eventually(t, func() bool { return b.Topics().Publish(ctx, "news.today", []byte("21")) == nil }, patience, tick)
	_, err = s.Next(ctx)
	require.NoError(t, err)

	add, err := a.Calls().Serve(ctx, "org.example.add", func(context.Context, *rpc.Request) (any, error) { return 3, nil })
	require.NoError(t, err)
	t.Cleanup(func() { _ = add.Withdraw() })
	require.Eventually(t, func() bool { _, err := b.Calls().Call(ctx, "org.example.add", nil); return err == nil }, 2*patience, tick)
	_, err = b.Service().FindNodes(ctx, []byte("anywhere"))
	require.NoError(t, err)

	conn := hosttest.DialMacula(t, strings.TrimPrefix(a.Endpoint(), "https://"))
	connectRaw(t, conn, "https://127.0.0.1:1")
	return a, b
}

// What one node has sent the other has received, by type and transport, once nothing is
// under way.
func TestMetricsOfTwoNodesAgree(t *testing.T) {
	t.Parallel()
	a, b := usedNodes(t)
	agree := func(from, to *Node) (wrong []string) {
		sent, received := gather(t, from.Gatherer()), gather(t, to.Gatherer())
		for _, transport := range []string{"transport=libp2p", "transport=macula"} {
			for i := range 256 {
				typ := "type=" + wire.Type(i).String()
				out := sent.sum("macula_dht_queries_total", typ, transport, "result=ok")
				switch {
				case typ == "type=connect" && transport == "transport=macula":
					continue // that of the raw connection
				case typ == "type=rpc_route" && transport == "transport=libp2p":
					out += sent.sum("macula_calls_passed_on_total")
				case typ == "type=subscribe" && transport == "transport=libp2p":
					continue // of a watch, which has a stream of its own
				case typ == "type=ping" && transport == "transport=libp2p":
					out += received.sum("macula_dht_requests_total", "type=subscribe", transport) // each watch sends one behind it
				}
				if in := received.sum("macula_dht_requests_total", typ, transport); in != out {
					wrong = append(wrong, fmt.Sprintf("%s %s: %v sent, %v received", typ, transport, out, in))
				}
			}
		}
		return wrong
	}
	var wrong []string
	require.Eventually(t, func() bool { wrong = append(agree(a, b), agree(b, a)...); return len(wrong) == 0 }, 2*patience, tick, "%v", &wrong)

	has, other := gather(t, a.Gatherer()), gather(t, b.Gatherer())
	topics, calls := a.Topics().Stats(), a.Calls().Stats()
	require.EqualValues(t, topics.Received, has.sum("macula_topics_published_total", "from=elsewhere"))
	require.EqualValues(t, topics.Delivered, has.sum("macula_topics_delivered_total"))
	require.Equal(t, other.sum("macula_topics_sent_total"), has.sum("macula_topics_published_total", "from=elsewhere"))
	require.Equal(t, 1.0, has.sum("macula_topics_subscriptions"))
	require.EqualValues(t, calls.Answered, has.sum("macula_calls_total", "result=answered"))
	require.EqualValues(t, calls.Answered+calls.Failed+calls.Late, has.sum("macula_call_duration_seconds"))
	require.Equal(t, 1.0, has.sum("macula_table_contacts", "kind=libp2p"))
	require.Equal(t, 1.0, has.sum("macula_erlang_sessions"))
	require.Equal(t, 1.0, has.sum("macula_node_ready"))
	require.Equal(t, 1.0, has.sum("macula_node_well"))
	require.Positive(t, has.sum("macula_disk_commit_updates", "synced=true"))
	require.Equal(t, 1.0, other.sum("macula_bootstrap_addresses", "state=joined"))
	require.Positive(t, other.sum("macula_lookups_total", "kind=nodes", "result=ok"))
	require.Equal(t, other.sum("macula_lookups_total"), other.sum("macula_lookup_hops"))
	require.Positive(t, other.sum("macula_pool_connections"))
	require.Positive(t, other.sum("libp2p_swarm_connections_opened_total"), "libp2p's own")
	require.Equal(t, 1.0, other.sum("macula_build_info", "version=test"))

	served := httptest.NewRecorder()
	a.MetricsHandler().ServeHTTP(served, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, served.Code)
	require.Contains(t, served.Body.String(), `macula_dht_requests_total{result="handled",transport="macula",type="ping"} 3`)
	require.Contains(t, served.Body.String(), "go_goroutines")
}

// Two nodes on one registerer would add up to nonsense; one that is closed leaves it.
func TestRegistererIsOfOneNode(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	of := func(name string) prometheus.Registerer {
		return prometheus.WrapRegistererWith(prometheus.Labels{"node": name}, r)
	}
	first := func(c *Config) { c.Registerer = of("first") }
	n := startNode(t, first)
	_, err := New(Config{Key: newKey(t), Listen: []string{onLoopback4}, Registerer: of("first")})
	require.ErrorContains(t, err, "give each node its own")
	labelled := startNode(t, func(c *Config) { c.Registerer = of("second") })
	require.Nil(t, labelled.Gatherer())
	require.Equal(t, 1.0, gather(t, r).sum("macula_node_ready", "node=second"))
	served := httptest.NewRecorder()
	labelled.MetricsHandler().ServeHTTP(served, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 404, served.Code)
	require.NoError(t, n.Close())
	require.Equal(t, 1.0, gather(t, r).sum("macula_node_ready"))
	startNode(t, first)
	require.Equal(t, 2.0, gather(t, r).sum("macula_node_ready"))

	own := prometheus.NewRegistry()
	require.Same(t, own, startNode(t, func(c *Config) { c.Registerer = own }).Gatherer())
}

// The local API has them, of the node's own registry or of one that can be gathered.
func TestMetricsOfTheAPI(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		registerer prometheus.Registerer
		status     int
		has        string
	}{
		"its own registry": {nil, 200, "\nmacula_node_ready 1\n"},
		"a registry":       {prometheus.NewRegistry(), 200, "\nmacula_node_ready 1\n"},
		"a registerer":     {prometheus.WrapRegistererWithPrefix("a_", prometheus.NewRegistry()), 404, "Config.Registerer"},
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, func(c *Config) { c.DataDir, c.API, c.Registerer = t.TempDir(), "127.0.0.1:0", test.registerer })
			asking := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := asking.Get(n.APIURL() + "/metrics")
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, test.status, resp.StatusCode, "%s", text)
			require.Contains(t, string(text), test.has)
		})
	}
}

const operations = "../docs/OPERATIONS.md"

// Each metric is in the table of docs/OPERATIONS.md, and each line of that is a metric;
// what the dashboard and the rules ask for is there too, with its labels.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	a, b := usedNodes(t)
	all := gather(t, prometheus.Gatherers{a.Gatherer()})
	for name, f := range gather(t, b.Gatherer()) {
		if all[name] == nil {
			all[name] = f
		}
	}
	described := make(chan *prometheus.Desc, 1000)
	a.metrics.Describe(described)
	close(described)
	for d := range described {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]
		require.Contains(t, all, name, "it was not used: use it in this test")
	}

	var table strings.Builder
	table.WriteString("| metric | type | labels | what |\n|---|---|---|---|\n")
	names := make([]string, 0, len(all))
	for name := range all {
		if strings.HasPrefix(name, "macula_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		f := all[name]
		labels := all.labels(name)
		for i := range labels {
			labels[i] = "`" + labels[i] + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	text, err := os.ReadFile(operations)
	require.NoError(t, err)
	begin, end := "<!-- metrics -->\n", "<!-- end of metrics -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok)
	written, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if *updateDocs {
		require.NoError(t, os.WriteFile(operations, []byte(before+begin+table.String()+end+after), 0o644))
		return
	}
	require.Equal(t, table.String(), written, "go test ./node -run TestMetricsAreDocumented -update-metrics writes it")
	checkQueries(t, all)
}

// labels returns those of a metric's series.
func (f families) labels(name string) (all []string) {
	for _, m := range f[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(all, l.GetName()) {
				all = append(all, l.GetName())
			}
		}
	}
	slices.Sort(all)
	return all
}
