package resolver

import (
	"cmp"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

// shares counts what is under way, in all, for each IP group and for each source.
type shares struct {
	all       int
	groups    map[string]int // by groupOf
	sources   map[records.Source]int
	max       share
	refusedBy [3]Refusal // in all, of a group, of a source
}

// share is how much may be under way, in all, for a group and for a source.
type share struct{ all, group, source int }

func newShares(max share, refusedBy ...Refusal) shares {
	s := shares{max: max, groups: make(map[string]int), sources: make(map[records.Source]int)}
	copy(s.refusedBy[:], refusedBy)
	return s
}

// groupOf returns who shares with a source: its IP group or, outside of any, nobody.
func groupOf(source records.Source) string { return cmp.Or(source.Group, source.Name) }

// fewShare is how many a group has its own way to: up to that it gets one more though
// others have taken all, until twice as many are under way.
const fewShare = 4

// take counts one more, or returns the limit over which that would be.
func (s *shares) take(source records.Source) (refused Refusal, ok bool) {
	if refused, ok = s.allow(source); ok {
		s.count(source)
	}
	return refused, ok
}

// allow returns the limit over which one more would be: that in all only where the
// source and its group are below theirs.
func (s *shares) allow(source records.Source) (refused Refusal, ok bool) {
	few := s.groups[groupOf(source)] < fewShare && s.all < 2*s.max.all
	switch {
	case s.groups[groupOf(source)] >= max(s.max.group, s.ofNone(source)):
		return s.refusedBy[1], false
	case s.sources[source] >= s.max.source:
		return s.refusedBy[2], false
	case s.all >= s.max.all && !few:
		return s.refusedBy[0], false
	}
	return "", true
}

func (s *shares) count(source records.Source) {
	s.all++
	s.groups[groupOf(source)]++
	s.sources[source]++
}

// heavier returns the group that has most, if that is more than a source's own would
// have with one more.
func (s *shares) heavier(source records.Source) (group string, ok bool) {
	most := s.groups[groupOf(source)] + 1
	for g, n := range s.groups {
		if n > most {
			group, most, ok = g, n, true
		}
	}
	return group, ok
}

// ofNone returns the limit of the group that a source in no group is: its own.
func (s *shares) ofNone(source records.Source) int {
	if source.Group == "" {
		return s.max.source
	}
	return 0
}

// give counts one less.
func (s *shares) give(source records.Source) {
	s.all--
	if s.groups[groupOf(source)]--; s.groups[groupOf(source)] == 0 {
		delete(s.groups, groupOf(source))
	}
	if s.sources[source]--; s.sources[source] == 0 {
		delete(s.sources, source)
	}
}
