package soak

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 760
	plotHeight = 130 // of each series
	plotLeft   = 60
	plotRight  = 20
	plotTop    = 28 // of each series, for its title
	plotFoot   = 30
)

var colours = []string{"#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910"}

// writePlot draws the series one below the other, as SVG.
func writePlot(to io.Writer, title string, at []time.Duration, all []*series) error {
	var b strings.Builder
	height := plotTop + len(all)*(plotTop+plotHeight) + plotFoot
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%d" y="18" font-size="14">%s</text>`+"\n", plotLeft, html.EscapeString(title))
	end := at[len(at)-1]
	x := func(t time.Duration) float64 {
		return plotLeft + (plotWidth-plotLeft-plotRight)*t.Seconds()/max(end.Seconds(), 1)
	}
	for i, s := range all {
		top := plotTop + i*(plotTop+plotHeight) + plotTop
		drawSeries(&b, s, at, x, float64(top))
	}
	foot := height - plotFoot + 16
	for _, t := range []time.Duration{0, end / 4, end / 2, end * 3 / 4, end} {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%v</text>`+"\n", x(t), foot, t.Round(time.Second))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(to, b.String())
	return err
}

// drawSeries draws one series from 0 up, with the time of warming up in grey.
func drawSeries(b *strings.Builder, s *series, at []time.Duration, x func(time.Duration) float64, top float64) {
	most := 1.0
	for _, values := range s.is {
		for _, v := range values {
			most = max(most, v)
		}
	}
	most = roundUp(most)
	y := func(v float64) float64 { return top + plotHeight*(1-v/most) }
	fmt.Fprintf(b, `<text x="%d" y="%.1f" font-size="12">%s (%s)</text>`+"\n", plotLeft, top-6, html.EscapeString(s.name), html.EscapeString(s.unit))
	fmt.Fprintf(b, `<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="#f0f0f0"/>`+"\n", plotLeft, top, x(at[warmUp(at)])-plotLeft, plotHeight)
	for _, v := range []float64{0, most / 2, most} {
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ccc"/>`, plotLeft, y(v), plotWidth-plotRight, y(v))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", plotLeft-6, y(v)+4, v)
	}
	for i, values := range s.is {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.2" points="`, colours[i%len(colours)])
		for j, v := range values {
			fmt.Fprintf(b, "%.1f,%.1f ", x(at[j]), y(v))
		}
		b.WriteString(`"/>` + "\n")
		fmt.Fprintf(b, `<text x="%d" y="%.1f" fill="%s">%s</text>`+"\n", plotWidth-plotRight-80*(len(s.is)-i), top-6, colours[i%len(colours)], html.EscapeString(s.of[i]))
	}
}

// roundUp returns the next of 1, 2, 4, 6, 8 times a power of ten.
func roundUp(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 4, 6, 8} {
		if v <= n*power {
			return n * power
		}
	}
	return 10 * power
}
