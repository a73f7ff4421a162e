package wire

import (
	"math"
	"time"
)

// Seconds returns so many seconds, or the most or least that a duration holds: the
// product with a number that a peer chose may be any other number.
func Seconds(n int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Second)
	return time.Duration(max(-most, min(n, most))) * time.Second
}

// lastMilli is the end of the year 9999, in milliseconds: times after it have no text.
const lastMilli = 253_402_300_799_999

// TimeOfMilli returns the time that is so many milliseconds after 1970, as peers tell
// it. One before that, or after the year 9999, is the nearest that is neither.
func TimeOfMilli(ms int64) time.Time { return time.UnixMilli(max(0, min(ms, lastMilli))) }

// TimeOfSeconds is TimeOfMilli of seconds.
func TimeOfSeconds(s int64) time.Time { return time.Unix(max(0, min(s, lastMilli/1000)), 0) }
