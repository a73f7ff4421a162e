package uplink

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/dialer/safety"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// ErrOtherRealm: a gateway serves another realm than ours, so it gets no CONNECT,
// which would hang it for ever. It is a proto.ErrRefused too.
var ErrOtherRealm error = &proto.RefusedError{Reason: "it serves another realm"}

// Uplinks keep a session with each Erlang gateway that an operator named: it is
// looked at, and told of this node by CONNECT only if it serves our realm; what
// it sends is served; PING shows that it lives; its neighbours become contacts;
// and when all of that ends it begins anew. One that stalls is waited for, one that
// was started again is joined at once.
//
// A gateway asks those who CONNECTed on each of its own misses, one after the
// other, and waits 5 s for one that it can not reach. So it is not told of a node
// that has no endpoint, or only one that the gateway could not reach, or that
// answers nobody; such a node uses it all the same.
type Uplinks struct {
	dialer   *dialer.Dialer
	handlers *dht.Handlers
	cfg      config
	all      []*uplink

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// New starts a session with each of the gateways, through d and with
// what handlers answer. Close it before both. A gateway with a Pin that the dialer
// was not given (dialer.WithPins) is an error.
func New(d *dialer.Dialer, handlers *dht.Handlers, gateways []identity.PinnedEndpoint, opts ...Option) (*Uplinks, error) {
	if d == nil || handlers == nil {
		return nil, errors.New("uplink: no dialer, or no handlers")
	}
	u := &Uplinks{
		dialer:   d,
		handlers: handlers,
		cfg: config{
			intervals: DefaultIntervals(),
			listable:  func() bool { return true },
			met:       func(netip.Addr) func() { return func() {} },
			log:       logs.Logger("uplink"),
			tracer:    noTracer{},
		},
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("uplink: a nil option")
		}
		if err := opt(&u.cfg); err != nil {
			return nil, fmt.Errorf("uplink: %w", err)
		}
	}
	for _, e := range gateways {
		if !d.Holds(e) {
			return nil, fmt.Errorf("uplink: gateway %s has the pin %s, which the dialer does not know: give it to WithPins", e, e.Pin)
		}
	}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	for _, e := range gateways {
		l := &uplink{
			Uplinks:  u,
			endpoint: e.Endpoint,
			log:      u.cfg.log.With("gateway", e.String()),
			refresh:  make(chan struct{}, 1),
			tried:    make(map[string]time.Time),
			status:   Status{Gateway: e.Endpoint, State: StateConnecting, Since: time.Now()},

			leavePeer: func() {},
		}
		l.turn(StateConnecting, 0, nil)
		u.all = append(u.all, l)
	}
	for _, l := range u.all {
		u.tasks.Go(l.run)
	}
	return u, nil
}

// Close ends all sessions and waits for them.
func (u *Uplinks) Close() {
	u.cancel()
	u.tasks.Wait()
}

// Refresh has the gateways told at once where this node's endpoint has become
// another one; else they are after the next sign of life.
func (u *Uplinks) Refresh() {
	for _, l := range u.all {
		select {
		case l.refresh <- struct{}{}:
		default:
		}
	}
}

// Sessions returns the gateways that this node is registered with, as contacts.
func (u *Uplinks) Sessions() []routing.Contact {
	var contacts []routing.Contact
	for _, l := range u.all {
		if j := l.session(); j != nil {
			contacts = append(contacts, j.contact)
		}
	}
	return contacts
}

// Publish sends a PUBLISH to the first gateway with a session that takes it. It
// is a dht.Publisher: without a session the error is
// proto.ErrNoConnection.
func (u *Uplinks) Publish(ctx context.Context, m *wire.Publish) error {
	var errs error
	for _, l := range u.all {
		j := l.session()
		if j == nil {
			continue
		}
		err := j.conn.Send(ctx, j.contact, m)
		if err == nil || errors.Is(err, safety.ErrHarmful) || errors.Is(err, safety.ErrTooLargeForPeer) || errors.Is(err, proto.ErrInvalidRequest) {
			return err
		}
		errs = errors.Join(errs, err)
	}
	if errs == nil {
		return proto.ErrNoConnection
	}
	return errs
}

var _ dht.Publisher = (*Uplinks)(nil)
