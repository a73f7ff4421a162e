package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// How a gateway that an operator named is treated, unless an option says
// otherwise.
const (
	// DefaultPing is how often a gateway is asked for a sign of life.
	DefaultPing = 30 * time.Second
	// DefaultLookAgain is how long it is waited for a gateway that does not list
	// itself yet, which it does 3 s after its start (docs/WIRE.md); doubled each
	// time, up to DefaultLastRetry.
	DefaultLookAgain = 3 * time.Second
	// DefaultFirstRetry is how long a gateway that was not reached is left alone,
	// doubled each time.
	DefaultFirstRetry = time.Second
	// DefaultLastRetry is what that grows to.
	DefaultLastRetry = time.Minute
	// DefaultNeighbours is how often a gateway is asked for its neighbours.
	DefaultNeighbours = 5 * time.Minute
)

// ErrOtherRealm: a gateway serves another realm than ours, so it gets no CONNECT,
// which would hang it for ever. It is a routing.ErrRefused too.
var ErrOtherRealm error = &routing.RefusedError{Reason: "it serves another realm"}

// Uplinks keep a session with each Erlang gateway that an operator named: it is
// looked at, and told of this node by CONNECT only if it serves our realm; what
// it sends is served; PING shows that it lives; its neighbours become contacts;
// and when all of that ends it begins anew.
//
// A gateway asks those who CONNECTed on each of its own misses, one after the
// other, and waits 5 s for one that it can not reach. So it is not told of a node
// that has no endpoint, or only one that the gateway could not reach, or that
// answers nobody; such a node uses it all the same.
type Uplinks struct {
	dialer   *dialer.Dialer
	handlers *maculadht.Handlers
	cfg      config
	all      []*uplink
	refusals chan error

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

type config struct {
	ping        time.Duration
	lookAgain   time.Duration
	first, last time.Duration
	neighbours  time.Duration
	listable    func() bool
	self        string
	log         *slog.Logger
}

// Option sets a detail of Uplinks.
type Option func(*config) error

// UplinkTimes sets how often a gateway is asked for a sign of life and for its
// neighbours, and how long it is waited for one that does not list itself yet.
func UplinkTimes(ping, neighbours, lookAgain time.Duration) Option {
	return func(c *config) error {
		if ping <= 0 || neighbours <= 0 || lookAgain <= 0 {
			return fmt.Errorf("uplink times %v, %v and %v: want more than 0", ping, neighbours, lookAgain)
		}
		c.ping, c.neighbours, c.lookAgain = ping, neighbours, lookAgain
		return nil
	}
}

// UplinkRetries sets how long a gateway that was not reached is left alone the
// first time, and what that grows to. Each pause is half to one and a half of it.
func UplinkRetries(first, last time.Duration) Option {
	return func(c *config) error {
		if first <= 0 || last < first {
			return fmt.Errorf("uplink retries after %v to %v: want more than 0, and the last not before the first", first, last)
		}
		c.first, c.last = first, last
		return nil
	}
}

// WithListable sets what tells whether this node may be listed by a gateway:
// whether it answers. It is asked before each PING. Without it it may.
func WithListable(listable func() bool) Option {
	return func(c *config) error {
		c.listable = listable
		return nil
	}
}

// WithSelf sets the ClientID of this node's own certificate, by which it
// recognizes itself among the gateways.
func WithSelf(clientID string) Option {
	return func(c *config) error {
		c.self = clientID
		return nil
	}
}

// WithLogger sets where the uplinks log; nowhere without it.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		c.log = log
		return nil
	}
}

// New starts a session with each of the gateways, through dialer and with
// what handlers answer. Close it before both. A gateway with a Pin that the dialer
// was not given (DialPinned) is an error.
func New(dialer *dialer.Dialer, handlers *maculadht.Handlers, gateways []dialer.PinnedEndpoint, opts ...Option) (*Uplinks, error) {
	u := &Uplinks{
		dialer:   dialer,
		handlers: handlers,
		refusals: make(chan error, len(gateways)),
		cfg: config{
			ping:       DefaultPing,
			lookAgain:  DefaultLookAgain,
			first:      DefaultFirstRetry,
			last:       DefaultLastRetry,
			neighbours: DefaultNeighbours,
			listable:   func() bool { return true },
			log:        slog.New(slog.DiscardHandler),
		},
	}
	for _, opt := range opts {
		if err := opt(&u.cfg); err != nil {
			return nil, fmt.Errorf("uplink: %w", err)
		}
	}
	for _, e := range gateways {
		if !dialer.Holds(e) {
			return nil, fmt.Errorf("uplink: gateway %s has the pin %s, which the dialer does not know: give it to DialPinned", e, e.Pin)
		}
	}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	for _, e := range gateways {
		l := &uplink{
			Uplinks:  u,
			endpoint: e.Endpoint,
			log:      u.cfg.log.With("gateway", e.String()),
			tried:    make(map[string]time.Time),
		}
		u.all = append(u.all, l)
		u.tasks.Go(l.run)
	}
	return u, nil
}

// Close ends all sessions and waits for them.
func (u *Uplinks) Close() {
	u.cancel()
	u.tasks.Wait()
}

// Refusals hands out, for each gateway that serves another realm when it is first
// looked at, an ErrOtherRealm: the operator named it by mistake. The gateway is
// looked at again all the same.
func (u *Uplinks) Refusals() <-chan error { return u.refusals }

// Sessions returns the gateways that this node is registered with, as contacts.
func (u *Uplinks) Sessions() []routing.Contact {
	var contacts []routing.Contact
	for _, l := range u.all {
		if c, ok := l.session(); ok {
			contacts = append(contacts, c)
		}
	}
	return contacts
}

// Publish sends a PUBLISH to the first gateway with a session that takes it. It
// is a maculadht.Publisher: without a session the error is
// maculadht.ErrNoConnection.
func (u *Uplinks) Publish(ctx context.Context, m *wire.Publish) error {
	var errs error
	for _, c := range u.Sessions() {
		err := u.dialer.Send(ctx, c, m)
		if err == nil || errors.Is(err, dialer.ErrHarmful) || errors.Is(err, dialer.ErrTooLargeForPeer) || errors.Is(err, maculadht.ErrInvalidRequest) {
			return err
		}
		errs = errors.Join(errs, err)
	}
	if errs == nil {
		return maculadht.ErrNoConnection
	}
	return errs
}

var _ maculadht.Publisher = (*Uplinks)(nil)
