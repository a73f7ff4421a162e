package trie

import (
	"fmt"
	"strings"
)

// How intricate a pattern may be: a walk follows all ways in which each may fit a topic.
const (
	// MaxAny is how many Any it may have.
	MaxAny = 2
	// MaxSegments is how many segments it may have with One or Any among them.
	MaxSegments = 16
	// MaxSegmentsWithAny is how many it may have with Any among them, which a walk comes
	// to at each segment of a topic.
	MaxSegmentsWithAny = 10
)

// Check returns nil for a pattern that is to be added.
func Check(pattern string) error {
	segments, one, any := 0, 0, 0
	for s := range strings.SplitSeq(pattern, separator) {
		segments++
		switch s {
		case One:
			one++
		case Any:
			any++
		}
	}
	switch {
	case any > MaxAny:
		return fmt.Errorf("pattern %q has %d %q, want at most %d", pattern, any, Any, MaxAny)
	case any > 0 && segments > MaxSegmentsWithAny:
		return fmt.Errorf("pattern %q has %d segments, want at most %d where %q is among them", pattern, segments, MaxSegmentsWithAny, Any)
	case one > 0 && segments > MaxSegments:
		return fmt.Errorf("pattern %q has %d segments, want at most %d where %q is among them", pattern, segments, MaxSegments, One)
	}
	return nil
}
