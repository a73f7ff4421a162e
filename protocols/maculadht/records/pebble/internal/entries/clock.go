package entries

import (
	"encoding/binary"
	"math"
	"time"
)

// Clock tells the store's own time, in nanoseconds: while the store is open it goes by
// the monotonic clock, and from one opening to the next by the wall clock where that
// went on. It never goes back, so no step of the wall clock gives a record more life
// than it had. Where the wall clock is never set it is the time since 1970.
type Clock struct {
	opened time.Time            // with the monotonic clock's reading
	at     int64                // the store's time then
	step   func() time.Duration // by which the wall clock has been set ahead, in a test
}

// Reading is the store's time and that of the wall clock, both in nanoseconds.
type Reading struct{ Store, Wall int64 }

// NewClock goes on where last was read; the first one has none.
func NewClock(step func() time.Duration, last *Reading) Clock {
	opened := time.Now()
	now := opened.UnixNano() + int64(step())
	c := Clock{opened: opened, at: now, step: step}
	if last != nil {
		// The two clocks do not run exactly alike: what differs by less than a millisecond
		// is the same, or a record's end would wander.
		ahead := time.Duration(last.Store - min(last.Wall, now)).Round(time.Millisecond)
		c.at = now + int64(ahead)
	}
	return c
}

func (c *Clock) Read() Reading {
	now := time.Now()
	return Reading{c.at + int64(now.Sub(c.opened)), now.UnixNano() + int64(c.step())}
}

// Moved reports whether the wall clock has been set since the time of a reading: it
// has gone on by another second at least than the store's.
func (c *Clock) Moved(since Reading) bool {
	now := c.Read()
	by := time.Duration(now.Wall - since.Wall - (now.Store - since.Store))
	return by.Abs() > time.Second
}

// ToStore returns a time as the store's.
func (c *Clock) ToStore(t time.Time) int64 {
	d := int64(t.Sub(c.opened))
	if d > math.MaxInt64-c.at {
		return math.MaxInt64
	}
	return c.at + d
}

// FromStore returns a time of the store as one that steps of the wall clock do not move.
func (c *Clock) FromStore(at int64) time.Time {
	return c.opened.Add(time.Duration(at - c.at))
}

func (r Reading) append(to []byte) []byte {
	to = binary.BigEndian.AppendUint64(to, uint64(r.Store))
	return binary.BigEndian.AppendUint64(to, uint64(r.Wall))
}

func readingOf(b []byte) (r Reading, ok bool) {
	if len(b) != 16 {
		return r, false
	}
	return Reading{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, true
}
