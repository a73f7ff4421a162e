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

	"github.com/macula-mesh/macula-node/internal/buckets"
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
	Silent     Outcome = iota // nothing came back
	GivenUp                   // it was not waited for
	NotDialled                // it never began
	Answered                  // somebody is there, be it not who was wanted
	Reached                   // there is a connection
)

// Limiter says which addresses may be dialled now. Addresses that share a place in its
// memory, which nobody can foresee, share what is noted there. It is safe for concurrent
// use.
type Limiter struct {
	seed maphash.Seed

	ips    *buckets.Buckets
	groups *buckets.Buckets

	mu    sync.Mutex
	addrs [4096]silence
}

// silence is how often an address has not answered in a row.
type silence struct {
	of    uint64 // hash of the address
	times uint8
	until time.Time
}

// New returns a limiter that nothing is noted in.
func New() *Limiter {
	return &Limiter{
		seed:   maphash.MakeSeed(),
		ips:    buckets.New(4096, PerIP, IPPause),
		groups: buckets.New(1024, PerGroup, GroupPause),
	}
}

var public = diversity.Defaults()

// place is where an address is noted.
type place struct {
	at        *silence
	hash      uint64
	ip, group netip.Prefix
}

// place returns where an address is noted, and whether it is limited.
func (l *Limiter) place(addr netip.AddrPort) (p place, limited bool) {
	if p.group = public.Group(addr.Addr()); !p.group.IsValid() {
		return place{}, false
	}
	ip := addr.Addr().Unmap().WithZone("")
	p.ip = netip.PrefixFrom(ip, ip.BitLen())
	p.hash = maphash.Comparable(l.seed, netip.AddrPortFrom(ip, addr.Port()))
	p.at = &l.addrs[p.hash%uint64(len(l.addrs))]
	return p, true
}

// Begin reports by a nil error that an address may be dialled now, and notes that it is;
// end that with End. The error is ErrDead or ErrTooOften.
func (l *Limiter) Begin(addr netip.AddrPort) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	p, limited := l.place(addr)
	switch {
	case !limited:
		return nil
	case p.at.of == p.hash && now.Before(p.at.until):
		return ErrDead
	case !l.ips.Take(p.ip, now):
		return ErrTooOften
	case !l.groups.Take(p.group, now):
		l.ips.Give(p.ip)
		return ErrTooOften
	}
	return nil
}

// End notes what came of a dial that was begun.
func (l *Limiter) End(addr netip.AddrPort, came Outcome) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	p, limited := l.place(addr)
	if !limited {
		return
	}
	switch came {
	case Silent:
		if p.at.of != p.hash {
			*p.at = silence{of: p.hash}
		}
		if p.at.times++; p.at.times > 1 {
			p.at.times = min(p.at.times, 16)
			p.at.until = now.Add(min(FirstRest<<(p.at.times-2), MaxRest))
		}
	case NotDialled:
		l.ips.Give(p.ip)
		l.groups.Give(p.group)
	case Reached:
		l.ips.Give(p.ip)
		l.groups.Give(p.group)
		fallthrough
	case Answered:
		if p.at.of == p.hash {
			*p.at = silence{}
		}
	}
}
