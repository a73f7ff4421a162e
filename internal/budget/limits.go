package budget

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/time/rate"
)

// MinMemory is the least of bytes buffered that a limit may allow: what reading
// one stream takes. Less would serve nobody.
const MinMemory = 4 << 10

// groupShare is how many times a source's limits those of a group are, where
// nothing else is said.
const groupShare = 4

// ErrLimits means that limits would serve nobody or contradict one another.
var ErrLimits = errors.New("limits that can't be kept")

// Limits are what a Budget allows. There is no value for "no limit" but rate.Inf
// for frames; zero is an error everywhere.
type Limits struct {
	// Source is the limit of each source: by default 50,000 frames a second and
	// 100,000 at once, 32 MiB buffered.
	Source Share
	// Group is the limit of each IP group, no less than that of a source: by
	// default four times as much.
	Group Share

	TotalMemory int64 // bytes buffered for all together: 256 MiB

	// Remember is how many sources, and how many groups, are remembered after
	// their last account was closed: 4096 of each.
	Remember int

	// Everywhere has loopback, private and link-local addresses count in groups too
	// ([Budget.OpenPeer]). Without it they pay for themselves only: there all of a mesh
	// may be in one network.
	Everywhere bool
}

// Share is what one source, or one group, may use.
type Share struct {
	FrameRate  rate.Limit // frames a second; rate.Inf for no limit
	FrameBurst int        // frames at once; of no account where the rate is rate.Inf
	Memory     int64      // bytes buffered, in and out together; at least MinMemory
}

// DefaultLimits returns the defaults: many times what any honest peer asks for,
// and less than would keep others waiting.
func DefaultLimits() Limits {
	source := Share{FrameRate: 50_000, FrameBurst: 100_000, Memory: 32 << 20}
	return Limits{
		Source:      source,
		Group:       source.Times(groupShare),
		TotalMemory: 256 << 20,
		Remember:    4096,
	}
}

// Times returns n times s, such as the share of a group whose n heaviest sources
// are to have all of theirs. What would overflow is the largest number there is.
func (s Share) Times(n int) Share {
	if s.FrameRate < rate.Inf/rate.Limit(max(n, 1)) {
		s.FrameRate *= rate.Limit(n)
	} else {
		s.FrameRate = rate.Inf
	}
	s.FrameBurst = int(times(int64(s.FrameBurst), n, math.MaxInt))
	s.Memory = times(s.Memory, n, math.MaxInt64)
	return s
}

func times(v int64, n int, most int64) int64 {
	if n > 0 && v > most/int64(n) {
		return most
	}
	return v * int64(n)
}

// Validate returns which limits make no sense, as an ErrLimits.
func (l Limits) Validate() error {
	if err := l.Source.validate("source"); err != nil {
		return err
	}
	if err := l.Group.validate("group"); err != nil {
		return err
	}
	s, g := l.Source, l.Group
	switch {
	case g.FrameRate < s.FrameRate, g.FrameRate != rate.Inf && g.FrameBurst < s.FrameBurst:
		return fmt.Errorf("%w: a group has fewer frames than a source", ErrLimits)
	case g.Memory < s.Memory:
		return fmt.Errorf("%w: a group has %d bytes, a source %d", ErrLimits, g.Memory, s.Memory)
	case l.TotalMemory < MinMemory:
		return fmt.Errorf("%w: %d bytes in all, want %d or more", ErrLimits, l.TotalMemory, MinMemory)
	case l.Remember < 1:
		return fmt.Errorf("%w: %d sources remembered", ErrLimits, l.Remember)
	}
	return nil
}

func (s Share) validate(who string) error {
	switch {
	case !(s.FrameRate > 0): // NaN too
		return fmt.Errorf("%w: %v frames a second for a %s", ErrLimits, s.FrameRate, who)
	case s.FrameRate != rate.Inf && s.FrameBurst < 1:
		return fmt.Errorf("%w: %d frames at once for a %s", ErrLimits, s.FrameBurst, who)
	case s.Memory < MinMemory:
		return fmt.Errorf("%w: %d bytes for a %s, want %d or more", ErrLimits, s.Memory, who, MinMemory)
	}
	return nil
}
