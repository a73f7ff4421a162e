package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	begun    time.Time
	served   atomic.Bool // a gateway of our realm was looked at
	refusals chan error

	mu      sync.Mutex
	refused map[*uplink]error // of another realm, as their certificates prove

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
		begun:    time.Now(),
		refusals: make(chan error, 1),
		refused:  make(map[*uplink]error),
		cfg: config{
			intervals: DefaultIntervals(),
			listable:  func() bool { return true },
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

// startUp is for how long after its start it is the operator's mistake that a
// gateway serves another realm.
const startUp = 30 * time.Second

// Refusals hands out one ErrOtherRealm, at the start, where all gateways that were
// named serve other realms and their certificates prove that it is they who say
// so: the operator named them by mistake. It never does where there are other ways
// into the network (WithOtherWays), nor once this node serves
// anybody, or has found a gateway of its realm. The gateways are looked at again
// all the same, if seldom.
func (u *Uplinks) Refusals() <-chan error { return u.refusals }

// refuse notes that a gateway serves another realm, and reports whether that was
// handed out.
func (u *Uplinks) refuse(l *uplink, why *realmError) bool {
	if !why.proved || u.cfg.otherWays || u.served.Load() || time.Since(u.begun) > startUp || len(u.handlers.Routing().Contacts()) > 0 {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.refused[l] != nil {
		return false
	}
	u.refused[l] = why
	if len(u.refused) < len(u.all) {
		return false
	}
	var errs []error
	for _, l := range u.all {
		errs = append(errs, u.refused[l])
	}
	u.refusals <- errors.Join(errs...) // has room, and there is one
	return true
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
