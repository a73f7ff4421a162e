package routing

import (
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// ProvenAfter is for how long a libp2p peer must have been a contact until addresses
// are kept that it claims elsewhere than where it was seen: at another public IP, at a
// name, or at a relay. Contacts are dialled there, by whoever is told of them, and peers
// that name somebody else and leave would have that one dialled by all.
const ProvenAfter = 10 * time.Minute

// proveAddrs parts the addresses that a contact claims into those that are kept and those
// that are not yet.
func (c *Contact) proveAddrs(now time.Time) {
	hidden := c.SeenIP.IsUnspecified() // whoever it is that a relay of our own network leads to
	if c.isErlang() || addressing.ReachOf(c.SeenIP) != addressing.ReachPublic && !hidden || !c.SeenIP.IsValid() {
		return
	}
	if c.since.IsZero() {
		c.since = now
	}
	claimed := append(slices.Clip(c.Addrs), c.unproven...)
	c.Addrs, c.unproven = nil, nil
	for _, a := range claimed {
		if addressing.IPOf(a) == c.SeenIP.Unmap() || addressing.Needs(a) != addressing.ReachPublic || now.Sub(c.since) >= ProvenAfter {
			c.Addrs = append(c.Addrs, a)
		} else {
			c.unproven = append(c.unproven, a)
		}
	}
}
