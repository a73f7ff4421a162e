package soak

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// half an hour, a figure every ten seconds, of two.
func halfAnHour(value func(t time.Duration, rng *rand.Rand) float64) (at []time.Duration, s *series) {
	rng := rand.New(rand.NewPCG(1, 1))
	s = &series{name: "memory", unit: "MiB", leak: 20, of: []string{"one", "two"}}
	for t := time.Duration(0); t <= 30*time.Minute; t += 10 * time.Second {
		at = append(at, t)
		s.add(100+10*rng.Float64(), value(t, rng))
	}
	return at, s
}

func TestLeaks(t *testing.T) {
	for name, test := range map[string]struct {
		value func(t time.Duration, rng *rand.Rand) float64
		leaks bool
	}{
		"flat":                {func(time.Duration, *rand.Rand) float64 { return 100 }, false},
		"flat and noisy":      {func(_ time.Duration, rng *rand.Rand) float64 { return 100 + 30*rng.Float64() }, false},
		"filled at the start": {func(t time.Duration, _ *rand.Rand) float64 { return 50 + min(t.Minutes(), 9)*5 }, false},
		"shrinking":           {func(t time.Duration, _ *rand.Rand) float64 { return 200 - 2*t.Minutes() }, false},
		"half a MiB a minute": {func(t time.Duration, rng *rand.Rand) float64 { return 100 + t.Minutes()/2 + 10*rng.Float64() }, true},
		"in steps":            {func(t time.Duration, _ *rand.Rand) float64 { return 100 + 4*float64(int(t.Minutes())/5) }, true},
		"only in the end":     {func(t time.Duration, _ *rand.Rand) float64 { return 100 + 3*max(t.Minutes()-20, 0) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			at, s := halfAnHour(test.value)
			lines := leaks(at, []*series{s})
			if !test.leaks {
				require.Empty(t, lines)
				return
			}
			require.Len(t, lines, 1)
			require.Contains(t, lines[0], "memory of two grows by")
			require.Contains(t, lines[0], "MiB an hour after 10m0s, 20.0 is the most")
		})
	}
}

func TestGrowth(t *testing.T) {
	at := []time.Duration{0, time.Hour, 2 * time.Hour}
	require.InDelta(t, 3, growth(at, []float64{1, 4, 7}), 1e-9)
	require.InDelta(t, -1, growth(at, []float64{2, 1, 0}), 1e-9)
	require.Zero(t, growth(at[:1], []float64{2}))
	require.Zero(t, growth(nil, nil))
}

func TestSummary(t *testing.T) {
	at, s := halfAnHour(func(t time.Duration, _ *rand.Rand) float64 { return 60 + t.Minutes() })
	require.Equal(t, []string{"memory: 70 to 110 MiB after 10m0s, growing by 60.0 an hour at most (allowed: 20)"}, summary(at, []*series{s}))
}

func TestWritten(t *testing.T) {
	at, s := halfAnHour(func(time.Duration, *rand.Rand) float64 { return 7.5 })
	var table, plot bytes.Buffer
	require.NoError(t, writeCSV(&table, at, []*series{s, s}))
	rows, err := csv.NewReader(&table).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 1+len(at))
	require.Equal(t, []string{"seconds", "memory of one (MiB)", "memory of two (MiB)", "memory of one (MiB)", "memory of two (MiB)"}, rows[0])
	require.Equal(t, "1800", rows[len(at)][0])
	require.Equal(t, "7.5", rows[len(at)][2])

	require.NoError(t, writePlot(&plot, "5 nodes & more", at, []*series{s, s}))
	require.Equal(t, 4, strings.Count(plot.String(), "<polyline"))
	require.Contains(t, plot.String(), "5 nodes &amp; more")
	for decoder := xml.NewDecoder(&plot); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
	}
}

func TestRoundUp(t *testing.T) {
	for v, want := range map[float64]float64{1: 1, 1.5: 2, 9: 10, 61: 80, 100: 100, 101: 200, 0.3: 0.4} {
		require.InDelta(t, want, roundUp(v), 1e-9, "%v", v)
	}
}
