package dialer

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/dialer/pace"
	"github.com/macula-mesh/macula-node/internal/dials"
)

// grantedStreams is how many streams at a time an Erlang node grants a connection.
const grantedStreams = 100

// Limits are how long a Dialer waits and how much it keeps.
type Limits struct {
	// DialTimeout is how long a handshake may take, retries included.
	DialTimeout time.Duration
	// ReplyTimeout is how long a reply may take before its caller gives up, and
	// the node is left alone for Backoff.
	ReplyTimeout time.Duration
	// LateReply is how much longer the connection is kept for such a reply, as
	// closing on it could crash the node.
	LateReply time.Duration
	// Backoff is how long a node is left alone that did not answer in time: it is
	// busy with its own network, and more questions make it worse. 0 is not at all.
	Backoff time.Duration
	// Idle is after how long an unused connection is closed.
	Idle time.Duration
	// Silence is after how long a connection that brings nothing at all, be it an
	// acknowledgement, is doubted: the node is dialled anew beside it.
	Silence time.Duration
	// MaxDials is how often an address is dialled within DialWindow, refused
	// handshakes included, whoever wants it: some versions close what is more than 5
	// connections of one source in 10 s.
	MaxDials   int
	DialWindow time.Duration
	// Stagger is how long after one address of a name the next is dialled beside it.
	Stagger time.Duration
	// MaxEndpoints is of how many endpoints a connection or a Backoff is kept.
	MaxEndpoints int
	// MaxStreams is how many streams of a connection are used at a time, of the 100
	// that a node grants.
	MaxStreams int
}

// DefaultLimits returns those of a dialer for which WithLimits says nothing else.
func DefaultLimits() Limits {
	return Limits{
		DialTimeout:  10 * time.Second,
		ReplyTimeout: 10 * time.Second,
		LateReply:    time.Minute,
		Backoff:      5 * time.Minute,
		Idle:         30 * time.Second,
		Silence:      2 * time.Second,
		MaxDials:     4,
		DialWindow:   10 * time.Second,
		Stagger:      250 * time.Millisecond,
		MaxEndpoints: 1024,
		MaxStreams:   32,
	}
}

// Validate returns which limits make no sense, and what to set.
func (l Limits) Validate() error {
	var errs []error
	for name, d := range map[string]time.Duration{"DialTimeout": l.DialTimeout, "ReplyTimeout": l.ReplyTimeout, "LateReply": l.LateReply, "Idle": l.Idle,
		"Silence": l.Silence, "DialWindow": l.DialWindow, "Stagger": l.Stagger} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("limits: %s is %v: want more than 0", name, d))
		}
	}
	if l.Backoff < 0 {
		errs = append(errs, fmt.Errorf("limits: Backoff is %v: want 0 or more", l.Backoff))
	}
	if l.MaxDials < 1 {
		errs = append(errs, fmt.Errorf("limits: MaxDials is %d: want 1 or more", l.MaxDials))
	}
	if l.MaxEndpoints < 1 {
		errs = append(errs, fmt.Errorf("limits: MaxEndpoints is %d: want 1 or more", l.MaxEndpoints))
	}
	if l.MaxStreams < 1 || l.MaxStreams > grantedStreams {
		errs = append(errs, fmt.Errorf("limits: MaxStreams is %d: want 1 to %d", l.MaxStreams, grantedStreams))
	}
	return errors.Join(errs...)
}

type config struct {
	quic          QUIC
	resolver      pace.Resolver
	limits        Limits
	forceFindNode bool
	accepts       identity.Policy
	strangers     *dials.Limiter
	tracer        MetricsTracer
	log           *slog.Logger
}

// Option sets a detail of a Dialer.
type Option func(*config) error

// WithQUIC makes the dialer use q, and so the UDP port that q listens on. Without
// it the dialer has a port of its own.
func WithQUIC(q QUIC) Option {
	return func(c *config) error {
		if q == nil {
			return errors.New("no QUIC to dial through")
		}
		c.quic = q
		return nil
	}
}

// WithResolver sets what looks up the names of endpoints; net.DefaultResolver does
// without it.
func WithResolver(r pace.Resolver) Option {
	return func(c *config) error {
		if r == nil {
			return errors.New("no resolver")
		}
		c.resolver = r
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

// WithLimiter has Verify dial addresses no oftener than l lets it, which other protocols
// may share: anybody can say that a node is at somebody else's. Without it the dialer has a
// limiter of its own.
func WithLimiter(l *dials.Limiter) Option {
	return func(c *config) error {
		if l == nil {
			return errors.New("no limiter of dials")
		}
		c.strangers = l
		return nil
	}
}

// WithLogger sets where the dialer logs; go-log's macula/dialer without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("no logger")
		}
		c.log = log
		return nil
	}
}

// WithForcedFindNode lets FIND_NODE through, which crashes an Erlang node that
// itself bootstrapped from another.
func WithForcedFindNode() Option {
	return func(c *config) error {
		c.forceFindNode = true
		return nil
	}
}

// WithTLS sets which certificates are accepted; any are without it. Roots and
// AnyHost without Verify are an error.
func WithTLS(t identity.TLS) Option {
	return func(c *config) error {
		c.accepts.TLS = t
		return t.Check()
	}
}

// WithPins has each endpoint that has a Pin show a certificate with that public
// key, whoever signed it, also where it is a contact whose endpoint a peer told
// us. Endpoints without a Pin are passed over; two pins of one endpoint are an
// error.
func WithPins(endpoints ...identity.PinnedEndpoint) Option {
	return func(c *config) error { return c.accepts.Pin(endpoints...) }
}
