package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

// The size of a plot, in units of its picture.
const (
	plotWidth, plotHeight = 320.0, 80.0
	// plotTime is what a plot shows.
	plotTime = 15 * time.Minute
	// nowTime is over how long what happens now is averaged.
	nowTime = time.Minute
)

// plot is some rates of the last 15 minutes.
type plot struct {
	Name  string
	Top   string // of the axis
	Lines []line
	Words string // what can be seen on it
}

// Width and Height are for the template, as is the middle.
func (plot) Width() float64  { return plotWidth }
func (plot) Height() float64 { return plotHeight }
func (plot) Middle() float64 { return plotHeight / 2 }

// line is one of a plot's.
type line struct {
	Name   string
	Points string // of a polyline
	Now    string // a second, over the last minute
	Style  int    // which of the styles of lines, from 0
}

// counted is what a line counts.
type counted struct {
	name string
	of   func(schema.Sample) uint64
}

// plots are all that the page has; the last are the errors.
func plots(h schema.History, now time.Time) []plot {
	return []plot{
		newPlot("Requests", h, now, counted{"read", func(s schema.Sample) uint64 { return s.Requests }}),
		newPlot("Records", h, now, counted{"stored", func(s schema.Sample) uint64 { return s.Stored }}),
		newPlot("Topics", h, now,
			counted{"published here", func(s schema.Sample) uint64 { return s.Published }},
			counted{"received", func(s schema.Sample) uint64 { return s.Received }},
			counted{"delivered", func(s schema.Sample) uint64 { return s.Delivered }}),
		newPlot("Calls", h, now, counted{"made", func(s schema.Sample) uint64 { return s.Calls }}),
		newPlot("Errors", h, now,
			counted{"peers refused", func(s schema.Sample) uint64 { return s.Refused }},
			counted{"records refused", func(s schema.Sample) uint64 { return s.Unstored }},
			counted{"messages dropped", func(s schema.Sample) uint64 { return s.Dropped }},
			counted{"calls failed", func(s schema.Sample) uint64 { return s.Failed }}),
	}
}

func newPlot(name string, h schema.History, now time.Time, all ...counted) plot {
	p := plot{Name: name}
	top := 0.0
	for _, c := range all {
		for _, s := range h.Samples {
			top = max(top, rate(c.of(s), s.Seconds))
		}
	}
	axis := roundUp(top)
	var words []string
	for i, c := range all {
		l := line{Name: c.name, Style: i, Now: perSecond(lately(h, now, c.of))}
		var points strings.Builder
		for _, s := range h.Samples {
			x := plotWidth * (1 - now.Sub(s.Time).Seconds()/plotTime.Seconds())
			if x < 0 || x > plotWidth {
				continue
			}
			fmt.Fprintf(&points, "%.1f,%.1f ", x, plotHeight*(1-rate(c.of(s), s.Seconds)/axis))
		}
		l.Points = strings.TrimSpace(points.String())
		p.Lines = append(p.Lines, l)
		words = append(words, fmt.Sprintf("%s %s a second", l.Name, l.Now))
	}
	p.Top = perSecond(axis)
	p.Words = fmt.Sprintf("%s in the last 15 minutes, at most %s a second. In the last minute: %s.", name, perSecond(top), strings.Join(words, ", "))
	return p
}

func rate(n uint64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

// lately is a rate over the last minute.
func lately(h schema.History, now time.Time, of func(schema.Sample) uint64) float64 {
	n, seconds := uint64(0), 0.0
	for _, s := range h.Samples {
		if now.Sub(s.Time) <= nowTime {
			n += of(s)
			seconds += s.Seconds
		}
	}
	return rate(n, seconds)
}

// roundUp is the end of an axis: 1, 2 or 5 times a power of ten.
func roundUp(v float64) float64 {
	if v <= 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

func perSecond(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0.1:
		return "< 0.1"
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
