package pebble

import (
	"log/slog"
	"time"
)

// noticeEvery is how often at most a trouble is logged that comes and goes.
const noticeEvery = time.Minute

// notice logs a trouble and its end, and counts what comes too soon after that to be
// logged by itself.
type notice struct {
	log            *slog.Logger
	begins, passes string // what is said of it
	again          string // what is said of those that were not logged and have passed
	said           time.Time
	unsaid         int   // since then
	last           error // that was not said
	is, isSaid     bool  // there is one, which was logged
}

// begin is for a trouble that begins.
func (n *notice) begin(err error) {
	n.is = true
	if !n.said.IsZero() && time.Since(n.said) < noticeEvery {
		n.unsaid++
		n.last, n.isSaid = err, false
		n.log.Debug(n.begins, "error", err)
		return
	}
	n.say(n.begins, err, n.unsaid+1)
	n.isSaid = true
}

func (n *notice) say(what string, err error, times int) {
	if times > 1 {
		n.log.Error(what, "error", err, "times", times, "since", n.said.Format(time.TimeOnly))
	} else {
		n.log.Error(what, "error", err)
	}
	n.said, n.unsaid, n.last = time.Now(), 0, nil
}

// end is for one that ends.
func (n *notice) end(args ...any) {
	n.is = false
	if n.isSaid {
		n.log.Info(n.passes, args...)
	} else {
		n.log.Debug(n.passes, args...)
	}
	n.isSaid = false
}

// look logs what was not, when it is time to.
func (n *notice) look() {
	if n.unsaid > 0 && time.Since(n.said) >= noticeEvery {
		n.flush()
	}
}

// flush logs what was not.
func (n *notice) flush() {
	switch {
	case n.unsaid == 0:
	case n.is:
		n.say(n.begins, n.last, n.unsaid)
		n.isSaid = true
	default:
		n.say(n.again, n.last, n.unsaid)
	}
}
