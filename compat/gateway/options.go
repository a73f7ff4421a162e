package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// Limits are how much a Gateway serves, in all and of one source: an IPv4 address
// or an IPv6 network of /64.
type Limits struct {
	// MaxConns and MaxConnsPerSource are how many connections are served; what is
	// over it is closed with maculadht.ResetRefused. An Erlang node opens one for
	// each lookup, and one more for each gateway each time that it asks for them.
	MaxConns, MaxConnsPerSource int
	// MaxMemory and MaxMemoryPerSource are how many bytes the frames may take that
	// are on their way in.
	MaxMemory, MaxMemoryPerSource int
	// MaxVerify and MaxVerifyPerSource are how many endpoints of nodes that
	// CONNECTed are dialled at a time.
	MaxVerify, MaxVerifyPerSource int
	// PeerRate and PeerBurst are how many frames a second, and at once, are served;
	// see maculadht.WithPeerBudget.
	PeerRate  rate.Limit
	PeerBurst int
	// Idle is after how long a stream on which nothing comes is reset, and a
	// connection without streams closed.
	Idle time.Duration
	// ProveAbove is above how many new connections a second their source addresses
	// have to be proved first, by a QUIC Retry, on the ports of ListenOn.
	ProveAbove int
}

// DefaultLimits returns those of a gateway for which WithLimits says nothing else.
func DefaultLimits() Limits {
	return Limits{
		MaxConns:           4096,
		MaxConnsPerSource:  256,
		MaxMemory:          256 << 20,
		MaxMemoryPerSource: 32 << 20,
		MaxVerify:          32,
		MaxVerifyPerSource: 2,
		PeerRate:           maculadht.DefaultPeerRate,
		PeerBurst:          maculadht.DefaultPeerBurst,
		Idle:               dialer.StreamIdle,
		ProveAbove:         1000,
	}
}

func (l Limits) check() error {
	var errs []error
	for name, n := range map[string]int{
		"MaxConns": l.MaxConns, "MaxConnsPerSource": l.MaxConnsPerSource,
		"MaxMemory": l.MaxMemory, "MaxMemoryPerSource": l.MaxMemoryPerSource,
		"MaxVerify": l.MaxVerify, "MaxVerifyPerSource": l.MaxVerifyPerSource,
		"PeerBurst": l.PeerBurst, "ProveAbove": l.ProveAbove,
	} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("limits: %s is %d: want 1 or more", name, n))
		}
	}
	if !(l.PeerRate > 0) { // nor is NaN
		errs = append(errs, fmt.Errorf("limits: PeerRate is %v: want more than 0", l.PeerRate))
	}
	if l.Idle <= 0 {
		errs = append(errs, fmt.Errorf("limits: Idle is %v: want more than 0", l.Idle))
	}
	return errors.Join(errs...)
}

type config struct {
	dialer  *dialer.Dialer // nil: nothing is verified
	allowed []netip.Prefix
	limits  Limits
	log     *slog.Logger
	tracer  MetricsTracer
}

// Option sets a detail of a Gateway.
type Option func(*config) error

// WithDialer makes the gateway ping the endpoint of a node that CONNECTed, and
// take the node for a contact once it has answered. Without it such nodes are
// listed to others while they are connected, and no more.
func WithDialer(d *dialer.Dialer) Option {
	return func(c *config) error {
		if d == nil {
			return errors.New("no dialer")
		}
		c.dialer = d
		return nil
	}
}

// WithAllowedEndpoints lets endpoints within the prefixes be verified though their
// node connects from another address. Without it only the connection's own
// source address is. Private and loopback endpoints of a node that connects
// from a public address are refused whatever is allowed.
func WithAllowedEndpoints(prefixes ...netip.Prefix) Option {
	return func(c *config) error {
		for _, p := range prefixes {
			if !p.IsValid() {
				return fmt.Errorf("allowed endpoints: %v is no range of addresses", p)
			}
		}
		c.allowed = append(c.allowed, prefixes...)
		return nil
	}
}

// WithLimits sets the limits, all of them: begin with DefaultLimits.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.check()
	}
}

// WithLogger sets where the gateway logs; nowhere without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("no logger")
		}
		c.log = log
		return nil
	}
}
