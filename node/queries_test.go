package node

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// rules are a file of alert rules.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr         string
			For                 string
			Labels, Annotations map[string]string
		}
	}
}

// checkQueries fails where the dashboard or the rules ask for a metric, or for a label of
// one, that there is not.
func checkQueries(t *testing.T, all families) {
	text, err := os.ReadFile("../deploy/prometheus/macula-node.rules.yml")
	require.NoError(t, err)
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	dec.KnownFields(true)
	var r rules
	require.NoError(t, dec.Decode(&r))
	alerts := make(map[string]bool)
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			require.False(t, alerts[rule.Alert], "%s is there twice", rule.Alert)
			alerts[rule.Alert] = true
			_, err := time.ParseDuration(rule.For)
			assert.NoError(t, err, rule.Alert)
			assert.Contains(t, []string{"warning", "critical"}, rule.Labels["severity"], rule.Alert)
			assert.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
			assert.NotEmpty(t, rule.Annotations["description"], rule.Alert)
			all.checkQuery(t, rule.Expr)
		}
	}
	require.NotEmpty(t, alerts)

	text, err = os.ReadFile("../deploy/grafana/macula-node.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	queries, ids := 0, make(map[int]bool)
	for _, p := range dashboard.Panels {
		require.False(t, ids[p.ID], "panel %q has the id of another", p.Title)
		ids[p.ID] = true
		for _, target := range p.Targets {
			queries++
			all.checkQuery(t, target.Expr)
			for _, l := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				by := regexp.MustCompile(`by \(([^)]*)\)`).FindStringSubmatch(target.Expr)
				if by != nil {
					assert.Contains(t, words(by[1]), l[1], "the legend of %q: it is not among those of %s", p.Title, target.Expr)
				}
			}
		}
	}
	require.NotZero(t, queries)
}

var (
	asked    = regexp.MustCompile(`\b((?:macula|libp2p|go|process)_\w+)({[^}]*})?`)
	grouped  = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	selected = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
	ofScrape = []string{"job", "instance"} // which Prometheus adds
)

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ' ' || r == ',' })
}

// checkQuery checks what a query names; of its grammar only that what is opened is closed.
func (f families) checkQuery(t *testing.T, query string) {
	t.Helper()
	var open []rune
	for _, c := range regexp.MustCompile(`"[^"]*"`).ReplaceAllString(query, `""`) {
		switch i := strings.IndexRune("([{", c); {
		case i >= 0:
			open = append(open, rune(")]}"[i]))
		case strings.ContainsRune(")]}", c):
			require.True(t, len(open) > 0 && open[len(open)-1] == c, "%q closes what is not open in %s", c, query)
			open = open[:len(open)-1]
		}
	}
	require.Empty(t, open, query)

	labels := slices.Clone(ofScrape)
	found := asked.FindAllStringSubmatch(query, -1)
	require.NotEmpty(t, found, query)
	for _, m := range found {
		name, of := m[1], f[m[1]]
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if base, is := strings.CutSuffix(m[1], part); is && of == nil && f[base].GetType() == dto.MetricType_HISTOGRAM {
				name, of = base, f[base]
				if part == "_bucket" {
					labels = append(labels, "le")
				}
			}
		}
		if !assert.NotNil(t, of, "there is no metric %s, which is asked for by %s", m[1], query) {
			continue
		}
		has := f.labels(name)
		labels = append(labels, has...)
		for _, s := range selected.FindAllStringSubmatch(m[2], -1) {
			if slices.Contains(ofScrape, s[1]) {
				continue
			}
			assert.Contains(t, has, s[1], "%s has no such label, in %s", name, query)
			for v := range strings.SplitSeq(s[3], "|") {
				assert.Contains(t, f.values(name, s[1]), v, "%s has no such value of %s, in %s", name, s[1], query)
			}
		}
	}
	for _, by := range grouped.FindAllStringSubmatch(query, -1) {
		for _, l := range words(by[1]) {
			assert.Contains(t, labels, l, query)
		}
	}
}

// values returns those of a label.
func (f families) values(name, label string) (all []string) {
	for _, m := range f[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label {
				all = append(all, l.GetValue())
			}
		}
	}
	return all
}
