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

// Reading is the store's time and that of the wall clock, both in nanoseconds since 1970
// and never before.
type Reading struct{ Store, Wall int64 }

// NewClock goes on where last was read; the first one has none.
func NewClock(step func() time.Duration, last *Reading) Clock {
	opened := time.Now()
	now := wall(opened, step)
	c := Clock{opened: opened, at: now, step: step}
	if last != nil {
		// The two clocks do not run exactly alike: what differs by less than a millisecond
		// is the same, or a record's end would wander.
		ahead := time.Duration(last.Store - min(last.Wall, now)).Round(time.Millisecond)
		c.at = max(last.Store, later(now, ahead))
	}
	return c
}

// wall returns what the wall clock shows at a time.
func wall(t time.Time, step func() time.Duration) int64 { return later(max(0, t.UnixNano()), step()) }

// later returns the time that is by so much later than one, or the nearest that there is.
func later(at int64, by time.Duration) int64 {
	if int64(by) > math.MaxInt64-at {
		return math.MaxInt64
	}
	return max(0, at+int64(by))
}

// Read returns what the clocks show.
func (c *Clock) Read() Reading {
	now := time.Now()
	return Reading{later(c.at, now.Sub(c.opened)), wall(now, c.step)}
}

// Moved reports whether the wall clock has been set since the time of a reading: it
// has gone on by another second at least than the store's.
func (c *Clock) Moved(since Reading) bool {
	now := c.Read()
	by := time.Duration(now.Wall - since.Wall - (now.Store - since.Store))
	return by.Abs() > time.Second
}

// ToStore returns a time as the store's, or the nearest that there is: none is negative.
func (c *Clock) ToStore(t time.Time) int64 { return later(c.at, t.Sub(c.opened)) }

// FromStore returns a time of the store, which is not negative, as one that steps of the
// wall clock do not move.
func (c *Clock) FromStore(at int64) time.Time {
	return c.opened.Add(time.Duration(at - c.at))
}

func (r Reading) append(to []byte) []byte {
	to = binary.BigEndian.AppendUint64(to, uint64(r.Store))
	return binary.BigEndian.AppendUint64(to, uint64(r.Wall))
}

// readingOf is the reverse of append.
func readingOf(b []byte) (r Reading, ok bool) {
	if len(b) != 16 {
		return r, false
	}
	r = Reading{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}
	return r, r.Store >= 0 && r.Wall >= 0
}
