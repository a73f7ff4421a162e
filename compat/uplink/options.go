package uplink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Intervals are how often a gateway is asked what.
type Intervals struct {
	// Ping is how often a gateway with a session is asked for a sign of life.
	Ping time.Duration
	// Neighbours is how often it is asked for its neighbours.
	Neighbours time.Duration
	// LookAgain is how long it is waited for a gateway that does not list itself
	// yet, which it does 3 s after its start (docs/WIRE.md); doubled each time, up
	// to LastRetry.
	LookAgain time.Duration
	// FirstRetry is how long a gateway that was not reached is left alone, doubled
	// each time, up to LastRetry. Each pause is half of it to all of it.
	FirstRetry, LastRetry time.Duration
	// Rarely is how long one is left alone that serves another realm, or that is a
	// macula-node, which was joined over libp2p; of these doubled each time, up to
	// eight times as long.
	Rarely time.Duration
}

// DefaultIntervals returns those of uplinks for which WithIntervals says nothing
// else. With them a gateway that was killed and started again has a session 10 s
// later.
func DefaultIntervals() Intervals {
	return Intervals{
		Ping:       5 * time.Second,
		Neighbours: 5 * time.Minute,
		LookAgain:  3 * time.Second,
		FirstRetry: time.Second,
		LastRetry:  30 * time.Second,
		Rarely:     time.Minute,
	}
}

func (i Intervals) check() error {
	var errs []error
	for name, d := range map[string]time.Duration{"Ping": i.Ping, "Neighbours": i.Neighbours, "LookAgain": i.LookAgain, "FirstRetry": i.FirstRetry, "Rarely": i.Rarely} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("intervals: %s is %v: want more than 0", name, d))
		}
	}
	if i.LastRetry < i.FirstRetry {
		errs = append(errs, fmt.Errorf("intervals: LastRetry is %v: want FirstRetry, %v, or more", i.LastRetry, i.FirstRetry))
	}
	return errors.Join(errs...)
}

type config struct {
	intervals Intervals
	listable  func() bool
	self      string
	found     func(context.Context, peer.AddrInfo) // or nil
	met       func(netip.Addr) (gone func())
	log       *slog.Logger
	tracer    MetricsTracer
}

// Option sets a detail of Uplinks.
type Option func(*config) error

// WithIntervals sets the intervals, all of them: begin with DefaultIntervals.
func WithIntervals(i Intervals) Option {
	return func(c *config) error {
		c.intervals = i
		return i.check()
	}
}

// WithListable sets what tells whether this node may be listed by a gateway:
// whether it answers. It is asked before each PING. Without it it may.
func WithListable(listable func() bool) Option {
	return func(c *config) error {
		if listable == nil {
			return errors.New("nothing to tell whether this node may be listed")
		}
		c.listable = listable
		return nil
	}
}

// WithSelf sets the identity.ClientID of this node's own certificate, by which it
// recognizes itself among the gateways.
func WithSelf(clientID string) Option {
	return func(c *config) error {
		if sum, err := hex.DecodeString(clientID); err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("own client id %q: want %d hexadecimal digits", clientID, 2*sha256.Size)
		}
		c.self = clientID
		return nil
	}
}

// WithPeerFound sets what is told of a macula-node of our realm that answers where
// a gateway was named: it is asked for its peer id, and is no gateway then, but a
// peer to join over libp2p. The context ends when something else answers there,
// and with the uplinks. The first address is the one at which it answered; others
// are left out that mean nothing from here. Without it every node is a gateway.
func WithPeerFound(found func(ctx context.Context, p peer.AddrInfo)) Option {
	return func(c *config) error {
		if found == nil {
			return errors.New("nobody to tell of peers")
		}
		c.found = found
		return nil
	}
}

// WithMet sets what is told of the address of each gateway that this node has a session
// with: it asks over connections of its own, too. What met returns is called when the
// session has ended. It is gateway.Gateway.Meet for a strict service, which does not know
// else that they have met.
func WithMet(met func(ip netip.Addr) (gone func())) Option {
	return func(c *config) error {
		if met == nil {
			return errors.New("nobody to tell of gateways that were met")
		}
		c.met = met
		return nil
	}
}

// WithLogger sets where the uplinks log; go-log's macula/uplink without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("no logger")
		}
		c.log = log
		return nil
	}
}
