// Package trie finds the patterns that fit a topic, all of them in one walk over the
// topic's segments.
package trie

import "strings"

// What a pattern may have in the place of a segment.
const (
	One = "*"  // any one segment
	Any = "**" // any number of segments, none too
)

// separator is what segments lie between.
const separator = "."

// Trie holds values under patterns. The zero Trie is empty. It is not safe for
// concurrent use.
type Trie[V comparable] struct {
	root node[V]
	walk uint64 // counts the walks
	// Nodes at which a walk is, and will be after the next segment.
	at, then []*node[V]
}

// node is a pattern as far as its path leads.
type node[V comparable] struct {
	texts  map[string]*node[V]
	one    *node[V]
	any    *node[V] // is reached without a segment too
	loops  bool     // it is the any of its parent, where each further segment leads back to
	values map[V]struct{}
	seen   uint64 // the step of a walk that came here last
}

// Add puts a value under a pattern, and reports whether it was not there.
func (t *Trie[V]) Add(pattern string, v V) bool {
	n := &t.root
	for segment := range strings.SplitSeq(pattern, separator) {
		n = n.child(segment)
	}
	if n.values == nil {
		n.values = make(map[V]struct{})
	}
	before := len(n.values)
	n.values[v] = struct{}{}
	return len(n.values) > before
}

// child returns where a segment of a pattern leads, which is made.
func (n *node[V]) child(segment string) *node[V] {
	switch segment {
	case One:
		if n.one == nil {
			n.one = new(node[V])
		}
		return n.one
	case Any:
		if n.any == nil {
			n.any = &node[V]{loops: true}
		}
		return n.any
	}
	c := n.texts[segment]
	if c == nil {
		if n.texts == nil {
			n.texts = make(map[string]*node[V])
		}
		c = new(node[V])
		n.texts[segment] = c
	}
	return c
}

// Remove takes a value from under a pattern, and reports whether it was there.
func (t *Trie[V]) Remove(pattern string, v V) bool {
	return t.root.remove(strings.Split(pattern, separator), v)
}

func (n *node[V]) remove(segments []string, v V) bool {
	if len(segments) == 0 {
		_, there := n.values[v]
		delete(n.values, v)
		return there
	}
	segment, rest := segments[0], segments[1:]
	switch segment {
	case One:
		if n.one == nil || !n.one.remove(rest, v) {
			return false
		}
		if n.one.isEmpty() {
			n.one = nil
		}
	case Any:
		if n.any == nil || !n.any.remove(rest, v) {
			return false
		}
		if n.any.isEmpty() {
			n.any = nil
		}
	default:
		c := n.texts[segment]
		if c == nil || !c.remove(rest, v) {
			return false
		}
		if c.isEmpty() {
			delete(n.texts, segment)
		}
	}
	return true
}

func (n *node[V]) isEmpty() bool {
	return len(n.values) == 0 && len(n.texts) == 0 && n.one == nil && n.any == nil
}

// IsEmpty reports whether nothing is held.
func (t *Trie[V]) IsEmpty() bool { return t.root.isEmpty() }

// Match calls yield with each value whose pattern fits a topic; with one that is there
// under several once for each of them.
//
// It is at all nodes that fit what was read so far at once, each of them once, so that
// it takes as many steps as the topic has segments, and nodes fit.
func (t *Trie[V]) Match(topic string, yield func(V)) {
	t.walk++
	t.at = t.reach(t.at[:0], &t.root)
	for segment := range strings.SplitSeq(topic, separator) {
		t.walk++
		t.then = t.then[:0]
		for _, n := range t.at {
			if n.loops {
				t.then = t.reach(t.then, n)
			}
			if n.one != nil {
				t.then = t.reach(t.then, n.one)
			}
			if c := n.texts[segment]; c != nil {
				t.then = t.reach(t.then, c)
			}
		}
		t.at, t.then = t.then, t.at
		if len(t.at) == 0 {
			break
		}
	}
	for _, n := range t.at {
		for v := range n.values {
			yield(v)
		}
	}
	clear(t.at) // so that nodes which are removed are not held
	clear(t.then)
}

// reach adds a node, and what no segment leads to from there.
func (t *Trie[V]) reach(to []*node[V], n *node[V]) []*node[V] {
	for ; n != nil && n.seen != t.walk; n = n.any {
		n.seen = t.walk
		to = append(to, n)
	}
	return to
}

// Fits reports whether one pattern fits a topic.
func Fits(pattern, topic string) bool {
	var t Trie[struct{}]
	t.Add(pattern, struct{}{})
	fits := false
	t.Match(topic, func(struct{}) { fits = true })
	return fits
}
