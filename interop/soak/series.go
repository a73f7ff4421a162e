package soak

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"
)

// series is a figure over time, of one or several.
type series struct {
	name, unit string
	// leak is from which growth on it is one, in units an hour.
	leak float64
	of   []string    // whom
	is   [][]float64 // of each, at each time
}

// add notes what the figure is at the next time.
func (s *series) add(values ...float64) {
	if s.is == nil {
		s.is = make([][]float64, len(s.of))
	}
	for i, v := range values {
		s.is[i] = append(s.is[i], v)
	}
}

// warmUp returns from where on growth counts: the first third is for what fills.
func warmUp(at []time.Duration) int {
	for i, t := range at {
		if t >= at[len(at)-1]/3 {
			return i
		}
	}
	return 0
}

// growth returns by how much values grow in an hour: the slope of the line that lies
// nearest to them.
func growth(at []time.Duration, values []float64) float64 {
	var meanX, meanY, xy, xx float64
	n := float64(len(at))
	for i := range at {
		meanX += at[i].Hours() / n
		meanY += values[i] / n
	}
	for i := range at {
		x := at[i].Hours() - meanX
		xy += x * (values[i] - meanY)
		xx += x * x
	}
	if xx == 0 {
		return 0
	}
	return xy / xx
}

// leaks returns what grows by more than it may, a line each.
func leaks(at []time.Duration, all []*series) (lines []string) {
	from := warmUp(at)
	for _, s := range all {
		for i, name := range s.of {
			if by := growth(at[from:], s.is[i][from:]); by > s.leak {
				lines = append(lines, fmt.Sprintf("%s of %s grows by %.1f %s an hour after %v, %.1f is the most", s.name, name, by, s.unit, at[from].Round(time.Second), s.leak))
			}
		}
	}
	return lines
}

// summary returns a line for each series: what it is in the end, and its greatest growth.
func summary(at []time.Duration, all []*series) (lines []string) {
	from := warmUp(at)
	for _, s := range all {
		least, most := s.is[0][from], s.is[0][from]
		grows := growth(at[from:], s.is[0][from:])
		for _, values := range s.is {
			grows = max(grows, growth(at[from:], values[from:]))
			for _, v := range values[from:] {
				least, most = min(least, v), max(most, v)
			}
		}
		lines = append(lines, fmt.Sprintf("%s: %.0f to %.0f %s after %v, growing by %.1f an hour at most (allowed: %.0f)",
			s.name, least, most, s.unit, at[from].Round(time.Second), grows, s.leak))
	}
	return lines
}

// writeCSV writes a row for each time.
func writeCSV(to io.Writer, at []time.Duration, all []*series) error {
	w := csv.NewWriter(to)
	head := []string{"seconds"}
	for _, s := range all {
		for _, name := range s.of {
			head = append(head, fmt.Sprintf("%s of %s (%s)", s.name, name, s.unit))
		}
	}
	rows := [][]string{head}
	for i, t := range at {
		row := []string{strconv.Itoa(int(t.Seconds()))}
		for _, s := range all {
			for _, values := range s.is {
				row = append(row, strconv.FormatFloat(values[i], 'f', -1, 64))
			}
		}
		rows = append(rows, row)
	}
	return w.WriteAll(rows)
}
