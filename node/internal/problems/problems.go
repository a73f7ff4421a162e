// Package problems has what a node says of itself where it is not well, for its operator:
// what is wrong, with which value, and what to do.
package problems

import (
	"errors"
	"fmt"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
)

// clockVoices is how many peers it takes to doubt this machine's clock.
const clockVoices = 3

// Clock says that this machine's clock is wrong, where so many peers say that it is ahead;
// nothing else.
func Clock(ahead time.Duration, voices int) string {
	if voices < clockVoices || ahead.Abs() <= records.Skew/2 {
		return ""
	}
	side := "ahead of"
	if ahead < 0 {
		side = "behind"
	}
	return fmt.Sprintf("this machine's clock, at %s, is %v %s those of most of the %d peers that have told theirs: from %v on nobody believes what this node has sealed, nor this node what others have; set it, as by NTP",
		time.Now().Format(time.RFC3339), ahead.Abs().Round(time.Second), side, voices, records.Skew)
}

// Store says that the store fails; nothing where it does not.
func Store(failing error) string {
	if failing == nil {
		return ""
	}
	what := fmt.Sprintf("nothing new can be stored: %v", failing)
	if errors.Is(failing, pebble.ErrBound) {
		what += "; to keep more start the node with a larger --store-disk (Config.DiskBytes), else there is room when records have come to the end of their life"
	}
	return what
}

// Room says that records have so much of the memory that they may that a large value has
// no room; nothing where it has.
func Room(bytes, limit int64) string {
	if bytes+values.MaxSize+records.RecordOverhead <= limit {
		return ""
	}
	return fmt.Sprintf("the records have all of the memory that they may, %d of %d bytes: what is new takes the place of what those have stored who have most, or is refused; to keep more start the node with a larger --store-memory (Config.Records)", bytes, limit)
}
