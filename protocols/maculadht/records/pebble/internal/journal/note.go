package journal

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// notePrefix is what the name of a note begins with: its number and, for each file, its
// name and how far it was synced follow.
const notePrefix = "SYNCED"

// notedFiles is how many files are noted at most, as a name has 255 bytes. There are
// seldom more than 5.
const notedFiles = 8

// note is how far files were synced. Of several the one by the highest number counts: the
// removal of the others need not be synced.
type note struct {
	number uint64
	synced map[string]int64 // by the file's name
}

// parseNote is the reverse of name.
func parseNote(name string) (n note, ok bool) {
	parts := strings.Split(name, "_")
	if parts[0] != notePrefix || len(parts) < 2 {
		return n, false
	}
	number, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return n, false
	}
	n = note{number, make(map[string]int64)}
	for _, part := range parts[2:] {
		of, length, ok := strings.Cut(part, "=")
		synced, err := strconv.ParseInt(length, 10, 64)
		if !ok || err != nil || synced < 0 {
			return n, false
		}
		n.synced[of] = synced
	}
	return n, true
}

// lastNote returns the note among the names of a directory, which may be none.
func lastNote(names []string) (last note) {
	for _, name := range names {
		if n, ok := parseNote(name); ok && n.number >= last.number {
			last = n
		}
	}
	return last
}

// name returns the name of the note's file.
func (n *note) name() string {
	files := slices.SortedFunc(maps.Keys(n.synced), func(a, b string) int {
		x, _ := numberOf(a)
		y, _ := numberOf(b)
		return cmp.Compare(y, x) // newest first
	})
	var b strings.Builder
	fmt.Fprintf(&b, "%s_%d", notePrefix, n.number)
	for _, name := range files[:min(len(files), notedFiles)] {
		fmt.Fprintf(&b, "_%s=%d", name, n.synced[name])
	}
	return b.String()
}

// missing returns the name of a log that is noted and not there, or "". One may have been
// taken to be the newest log, by another name, as the note is written after that: which one
// that was is not known, as older ones may be there that have yet to be removed.
func (n *note) missing(there map[string]bool, newest uint64) string {
	noted := uint64(0)
	for name := range n.synced {
		if number, isLog := numberOf(name); isLog {
			noted = max(noted, number)
		}
	}
	mayBeTaken := newest > noted
	for _, name := range slices.Sorted(maps.Keys(n.synced)) {
		if _, isLog := numberOf(name); !isLog || there[name] {
			continue
		}
		if !mayBeTaken {
			return name
		}
		mayBeTaken = false
	}
	return ""
}
