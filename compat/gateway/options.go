package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// Limits are how much a Gateway does at a time. How many frames and bytes a source, an
// IP group and all together may have is for the accounts of its handlers to say:
// server.Limits.
type Limits struct {
	// MaxVerify and MaxVerifyPerSource are how many endpoints of nodes that
	// CONNECTed are dialled at a time, in all and of one source: an IPv4 address or
	// an IPv6 network of /64.
	MaxVerify, MaxVerifyPerSource int
	// Idle is after how long a stream on which nothing comes is reset, and a
	// connection without streams closed.
	Idle time.Duration
	// Conns is what the connections may cost, of which the heaviest give way, but for
	// those on the ports of a node, which bounds them; and how many handshakes are under
	// way on the ports of ListenOn. A field that is 0 has its default.
	Conns conns.Limits
}

// DefaultLimits returns those of a gateway for which WithLimits says nothing else.
func DefaultLimits() Limits {
	return Limits{MaxVerify: 32, MaxVerifyPerSource: 2, Idle: server.ErlangIdle, Conns: conns.DefaultLimits()}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	var errs []error
	for name, n := range map[string]int{
		"MaxVerify": l.MaxVerify, "MaxVerifyPerSource": l.MaxVerifyPerSource,
	} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("limits: %s is %d: want 1 or more", name, n))
		}
	}
	if l.Idle <= 0 {
		errs = append(errs, fmt.Errorf("limits: Idle is %v: want more than 0", l.Idle))
	}
	return errors.Join(errs...)
}

type config struct {
	dialer  *dialer.Dialer          // nil: nothing is verified
	gater   connmgr.ConnectionGater // nil: nobody is kept away
	allowed []netip.Prefix
	limits  Limits
	log     *slog.Logger
	tracer  MetricsTracer
}

// Option sets a detail of a Gateway.
type Option func(*config) error

// WithDialer makes the gateway ping the endpoint of a node that CONNECTed, and
// take the node for a contact once it has answered: one that lookups ask, through the
// same dialer, which the service is given by maculadht.WithEndpoints. Without it such
// nodes are served all the same, and never asked. The dialer stays its caller's to
// close, after the service.
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

// WithConnectionGater sets who may come: each connection, on whatever listener, is asked
// for by its addresses (InterceptAccept), and as one of a peer without an id
// (InterceptSecured), as an Erlang node proves none. One that is kept away is closed with
// network.ConnGated. CloseGated asks once more.
func WithConnectionGater(gater connmgr.ConnectionGater) Option {
	return func(c *config) error {
		if gater == nil {
			return errors.New("no connection gater")
		}
		c.gater = gater
		return nil
	}
}

// WithLimits sets the limits, all of them: begin with DefaultLimits.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.Validate()
	}
}

// WithLogger sets where the gateway logs; go-log's macula/gateway without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("no logger")
		}
		c.log = log
		return nil
	}
}
