// Package notice logs a trouble that comes and goes at most once a minute, with how often
// it came.
package notice

import (
	"log/slog"
	"time"
)

// Every is how often at most a trouble is logged that comes and goes.
const Every = time.Minute

// Notice logs a trouble and its end, and counts what comes too soon after that to be
// logged by itself. It is one goroutine's.
type Notice struct {
	Log            *slog.Logger
	Begins, Passes string // what is said of it
	Again          string // what is said of those that were not logged and have passed

	said       time.Time
	unsaid     int   // since then
	last       error // that was not said
	is, isSaid bool  // there is one, which was logged
}

// Begin is for a trouble that begins.
func (n *Notice) Begin(err error) {
	n.is = true
	if !n.said.IsZero() && time.Since(n.said) < Every {
		n.unsaid++
		n.last, n.isSaid = err, false
		n.Log.Debug(n.Begins, "error", err)
		return
	}
	n.say(n.Begins, err, n.unsaid+1)
	n.isSaid = true
}

func (n *Notice) say(what string, err error, times int) {
	if times > 1 {
		n.Log.Error(what, "error", err, "times", times, "since", n.said.Format(time.TimeOnly))
	} else {
		n.Log.Error(what, "error", err)
	}
	n.said, n.unsaid, n.last = time.Now(), 0, nil
}

// End is for one that ends.
func (n *Notice) End(args ...any) {
	n.is = false
	if n.isSaid {
		n.Log.Info(n.Passes, args...)
	} else {
		n.Log.Debug(n.Passes, args...)
	}
	n.isSaid = false
}

// Look logs what was not, when it is time to.
func (n *Notice) Look() {
	if n.unsaid > 0 && time.Since(n.said) >= Every {
		n.Flush()
	}
}

// Flush logs what was not.
func (n *Notice) Flush() {
	switch {
	case n.unsaid == 0:
	case n.is:
		n.say(n.Begins, n.last, n.unsaid)
		n.isSaid = true
	default:
		n.say(n.Again, n.last, n.unsaid)
	}
}
