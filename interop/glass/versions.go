package glass

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// What versions other than 0.20.3 do differently, each an option. The wire is
// the same from 0.17 to 2.1.

// RawClientIDs names it, as a client, by the 32 bytes of its certificate's
// digest, as from 0.20.21 on; before, it is their 64 hexadecimal digits.
func RawClientIDs() Option { return func(c *config) { c.rawIDs = true } }

// IPv4Only makes it listen on IPv4 only, as from 0.20.9 on. An address of
// [Listen] that is IPv6 is an error.
func IPv4Only() Option { return func(c *config) { c.ipv4Only = true } }

// FindsItself makes it ask FIND_NODE of its own id, without type, on the stream
// of its CONNECT, as from 0.20.19 on. The reference does every 30 s
// ([DefaultFindEvery]).
func FindsItself(every time.Duration) Option { return func(c *config) { c.findEvery = every } }

// What 0.20.10 to 0.23.0 take, see [RateLimited].
const (
	DefaultPerSource  = 5
	DefaultSourceTime = 10 * time.Second
	DefaultPerSecond  = 50
)

// RateLimited makes it take so many connections of a source address in a fixed
// window, and so many a second in all. The excess is refused before its
// handshake; refused ones do not extend the window. From 0.20.10 to 0.23.0 it is
// [DefaultPerSource] in [DefaultSourceTime], and [DefaultPerSecond].
func RateLimited(perSource int, window time.Duration, perSecond int) Option {
	return func(c *config) { c.perSource, c.sourceTime, c.perSecond = perSource, window, perSecond }
}

var errTooMany = errors.New("too many connections")

// Refusal is a connection that was refused for there being too many.
type Refusal struct {
	When time.Time
	From net.Addr
	Why  string // for people
}

func (r Refusal) String() string {
	return fmt.Sprintf("%s of %v: %s", r.When.Format(time.TimeOnly), r.From, r.Why)
}

// admission is what [RateLimited] counts; guarded by Gateway.mu.
type admission struct {
	sources map[string]*window
	all     window
	refused []Refusal
}

// window is a fixed one: it begins with its first connection.
type window struct {
	begun time.Time
	count int
}

// full counts one more, unless there have been as many as may be.
func (w *window) full(limit int, length time.Duration, now time.Time) bool {
	if now.Sub(w.begun) >= length {
		*w = window{begun: now}
	}
	if w.count >= limit {
		return true
	}
	w.count++
	return false
}

// admit reports whether a connection is taken; g.mu is held.
func (g *Gateway) admit(from net.Addr) bool {
	if g.cfg.perSource <= 0 {
		return true
	}
	now := time.Now()
	host, _, _ := net.SplitHostPort(from.String())
	of := g.sources[host]
	if of == nil {
		of = &window{}
		if g.sources == nil {
			g.sources = make(map[string]*window)
		}
		g.sources[host] = of
	}
	why := ""
	switch {
	case of.full(g.cfg.perSource, g.cfg.sourceTime, now):
		why = fmt.Sprintf("more than %d in %v", g.cfg.perSource, g.cfg.sourceTime)
	case g.all.full(g.cfg.perSecond, time.Second, now):
		why = fmt.Sprintf("more than %d a second in all", g.cfg.perSecond)
	default:
		return true
	}
	g.stats.Limited++
	note(&g.refused, Refusal{now, from, why})
	return false
}

// NothingRefused returns an error that tells which connections were refused for
// there being too many (see [RateLimited]), and nil where none was.
func (g *Gateway) NothingRefused() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs error
	for _, r := range g.refused {
		errs = errors.Join(errs, fmt.Errorf("glass: refused %s", r))
	}
	return errs
}
