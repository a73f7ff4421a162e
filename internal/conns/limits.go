package conns

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

// What things cost beside the bytes that are buffered for them, as measured: in bytes of
// resident memory.
const (
	ConnCost   = 96 << 10 // a connection, with its keys, its timers and its goroutines
	StreamCost = 16 << 10 // a stream, with what serves it
)

// Allowance is what a group may have, in bytes, before it can be the heaviest.
const Allowance = 1 << 20

// Limits are those of a Pool. The zero value of a field stands for its default.
type Limits struct {
	// Memory is what all connections may cost together, in bytes: 256 MiB.
	Memory int64
	// Buffered is what may be buffered on them, in bytes, before the heaviest goes: 128
	// MiB, half of what the accounts of a service let all peers have.
	Buffered int64
	// Handshakes is how many may be under way at a time: 1,024.
	Handshakes int
	// Unproved is how many a second may begin from addresses that nobody has proved: 64,
	// of one group one, and four at once. Above that, and while a quarter of Handshakes is
	// under way, a Retry is asked for.
	Unproved int
	// PerSecond is how many connections an address may make in a second: 50, and ten times
	// that at once. A group has four times as many. Where Everywhere is not set nothing
	// limits private addresses and loopback.
	PerSecond int
	// Everywhere has private addresses, loopback and link-local ones be in IP groups too.
	// Each is a group of its own without it.
	Everywhere bool
}

// DefaultLimits returns the defaults.
func DefaultLimits() Limits {
	return Limits{Memory: 256 << 20, Buffered: 128 << 20, Handshakes: 1024, Unproved: 64, PerSecond: 50}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	_, err := l.withDefaults()
	return err
}

// MinMemory is the least that connections need: that of some dozen.
const MinMemory = 4 * Allowance

func (l Limits) withDefaults() (Limits, error) {
	d := DefaultLimits()
	var errs []error
	for name, of := range map[string]struct {
		value            *int64
		otherwise, least int64
	}{"memory": {&l.Memory, d.Memory, MinMemory}, "buffered": {&l.Buffered, d.Buffered, Allowance}} {
		if *of.value == 0 {
			*of.value = of.otherwise
		}
		if *of.value < of.least {
			errs = append(errs, fmt.Errorf("connections: %s of %d bytes: want %d or more", name, *of.value, of.least))
		}
	}
	for name, of := range map[string]struct {
		value     *int
		otherwise int
	}{"handshakes": {&l.Handshakes, d.Handshakes}, "unproved": {&l.Unproved, d.Unproved}, "per second": {&l.PerSecond, d.PerSecond}} {
		if *of.value == 0 {
			*of.value = of.otherwise
		}
		if *of.value < 1 {
			errs = append(errs, fmt.Errorf("connections: %s: %d: want 1 or more", name, *of.value))
		}
	}
	return l, errors.Join(errs...)
}

const (
	bits4 = 32
	bits6 = 64 // whoever has an IPv6 address has the network around it
)

// networks returns whose an address is, and in which group: its own where it is in none.
// All that are not known are one.
func (l Limits) networks(ip netip.Addr) (source, group netip.Prefix) {
	ip = ip.Unmap().WithZone("")
	bits := bits4
	if ip.Is6() {
		bits = bits6
	}
	source, _ = ip.Prefix(bits) // fails for no address, whose network is the zero one
	if group = (diversity.Limits{Everywhere: l.Everywhere}).Group(ip); !group.IsValid() {
		group = source
	}
	return source, group
}

// limited reports whether the rate of an address is.
func (l Limits) limited(ip netip.Addr) bool {
	return !ip.IsValid() || (diversity.Limits{Everywhere: l.Everywhere}).Group(ip).IsValid()
}

const (
	burst      = 10 // times PerSecond, at once
	groupShare = 4  // times what an address may, a group may

	quietAtOnce = 4
	quietEach   = time.Second

	sourceBuckets = 8192
	groupBuckets  = 4096
)

func each(perSecond int) time.Duration { return time.Second / time.Duration(perSecond) }
