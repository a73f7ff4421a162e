// Package dials has nobody dialled often who does not answer. Any peer may say that
// somebody else's address is its own, under a thousand names, and have all whom it tells
// dial that one.
//
// A [Limiter] remembers addresses, not peers, in memory that does not grow: 300 KiB.
// Only public ones are limited.
package dials

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

// Why an address is not dialled now.
var (
	// ErrDead means that it has not answered several times in a row.
	ErrDead = errors.New("it has not answered lately")
	// ErrTooOften means that too many dials to its IP address, or its IP group, were not
	// answered.
	ErrTooOften = errors.New("too many dials to that network were not answered")
)

const (
	// PerIP is how many dials to one IP address go unanswered at once, and IPPause in
	// what time there is one more.
	PerIP   = 8
	IPPause = 30 * time.Second
	// PerGroup and GroupPause are the same for an IPv4 /24 or an IPv6 /48.
	PerGroup   = 32
	GroupPause = 2 * time.Second
	// FirstRest is for how long an address is not dialled that did not answer twice in a
	// row. It doubles each time, up to MaxRest.
	FirstRest = time.Minute
	MaxRest   = time.Hour
)

// Outcome is what a dial came to.
type Outcome uint8

// The outcomes.
const (
	Silent   Outcome = iota // nothing came back
	GivenUp                 // it was not waited for
	Answered                // somebody is there, be it not who was wanted
	Reached                 // there is a connection
)

// Limiter says which addresses may be dialled now. Addresses that share a place in its
// memory, which nobody can foresee, share what is noted there. It is safe for concurrent
// use.
type Limiter struct {
	seed maphash.Seed

	mu     sync.Mutex
	addrs  [4096]silence
	ips    [4096]bucket
	groups [1024]bucket
}

// silence is how often an address has not answered in a row.
type silence struct {
	of    uint64 // hash of the address
	times uint8
	until time.Time
}

// bucket is full once it was not used for long.
type bucket struct {
	full time.Time // when it will be
}

// take takes one of most, of which one comes back each pause.
func (b *bucket) take(now time.Time, most int, pause time.Duration) bool {
	full := b.full
	if full.Before(now) {
		full = now
	}
	if full = full.Add(pause); full.Sub(now) > time.Duration(most)*pause {
		return false
	}
	b.full = full
	return true
}

func (b *bucket) give(pause time.Duration) { b.full = b.full.Add(-pause) }

// New returns a limiter that nothing is noted in.
func New() *Limiter { return &Limiter{seed: maphash.MakeSeed()} }

var public = diversity.Defaults()

// places returns where an address is noted; nil where it is not limited.
func (l *Limiter) places(addr netip.AddrPort) (at *silence, hash uint64, ip, group *bucket) {
	prefix := public.Group(addr.Addr())
	if !prefix.IsValid() {
		return nil, 0, nil, nil
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
	hash = maphash.Comparable(l.seed, addr)
	at = &l.addrs[hash%uint64(len(l.addrs))]
	ip = &l.ips[maphash.Comparable(l.seed, addr.Addr())%uint64(len(l.ips))]
	group = &l.groups[maphash.Comparable(l.seed, prefix)%uint64(len(l.groups))]
	return at, hash, ip, group
}

// Begin reports by a nil error that an address may be dialled now, and notes that it is;
// end that with End. The error is ErrDead or ErrTooOften.
func (l *Limiter) Begin(addr netip.AddrPort) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	at, hash, ip, group := l.places(addr)
	switch {
	case at == nil:
		return nil
	case at.of == hash && now.Before(at.until):
		return ErrDead
	case !ip.take(now, PerIP, IPPause):
		return ErrTooOften
	case !group.take(now, PerGroup, GroupPause):
		ip.give(IPPause)
		return ErrTooOften
	}
	return nil
}

// End notes what came of a dial that was begun.
func (l *Limiter) End(addr netip.AddrPort, came Outcome) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	at, hash, ip, group := l.places(addr)
	if at == nil {
		return
	}
	switch came {
	case Silent:
		if at.of != hash {
			*at = silence{of: hash}
		}
		if at.times++; at.times > 1 {
			at.times = min(at.times, 16)
			at.until = now.Add(min(FirstRest<<(at.times-2), MaxRest))
		}
	case Reached:
		ip.give(IPPause)
		group.give(GroupPause)
		fallthrough
	case Answered:
		if at.of == hash {
			*at = silence{}
		}
	}
}
