package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// ErrOtherRealm: a gateway serves another realm than ours, so it gets no CONNECT,
// which would hang it for ever. It is a proto.ErrRefused too.
var ErrOtherRealm error = &proto.RefusedError{Reason: "it serves another realm"}

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
	handlers *server.Handlers
	cfg      config
	all      []*uplink
	refusals chan error

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// New starts a session with each of the gateways, through d and with
// what handlers answer. Close it before both. A gateway with a Pin that the dialer
// was not given (dialer.WithPins) is an error.
func New(d *dialer.Dialer, handlers *server.Handlers, gateways []dialer.PinnedEndpoint, opts ...Option) (*Uplinks, error) {
	if d == nil || handlers == nil {
		return nil, errors.New("uplink: no dialer, or no handlers")
	}
	u := &Uplinks{
		dialer:   d,
		handlers: handlers,
		refusals: make(chan error, len(gateways)),
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
// is a server.Publisher: without a session the error is
// proto.ErrNoConnection.
func (u *Uplinks) Publish(ctx context.Context, m *wire.Publish) error {
	var errs error
	for _, c := range u.Sessions() {
		err := u.dialer.Send(ctx, c, m)
		if err == nil || errors.Is(err, dialer.ErrHarmful) || errors.Is(err, dialer.ErrTooLargeForPeer) || errors.Is(err, proto.ErrInvalidRequest) {
			return err
		}
		errs = errors.Join(errs, err)
	}
	if errs == nil {
		return proto.ErrNoConnection
	}
	return errs
}

var _ server.Publisher = (*Uplinks)(nil)
