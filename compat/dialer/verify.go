package dialer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/compat/dialer/pace"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/internal/dials"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

const (
	verifyTimeout = 15 * time.Second // for an endpoint to answer a PING
	mostVerified  = 4                // addresses of a name that others told us
)

// ErrElsewhere: an endpoint is not at an address that may be dialled for it.
var ErrElsewhere = errors.New("it is at no address that may be dialled for it")

// Verify has the endpoint that a node is said to have answer a PING, and returns
// the contact that the node then is. The endpoint is dialled only at addresses
// that may be: else it could be somebody else's, whom we would be sent to. The
// contact is dialled there from then on, wherever its name leads then. An address that does
// not answer is dialled ever less often, as are all of its IP group (package dials).
//
// Errors are dials.ErrDead, dials.ErrTooOften, endpoints.ErrBad, ErrElsewhere, identity.ErrAnotherNode, those of Query, and
// that the name could not be resolved.
func (d *Dialer) Verify(ctx context.Context, contact routing.Contact, may func(netip.Addr) bool) (routing.Contact, error) {
	e, err := endpoints.Parse(contact.Endpoint)
	if err != nil {
		return contact, err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	addrs, err := pace.Resolve(ctx, d.cfg.resolver, e)
	if err != nil {
		return contact, err
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.AddrPort) bool { return !may(a.Addr()) })
	if len(addrs) == 0 {
		return contact, ErrElsewhere
	}
	verified, err := pace.First(ctx, d.cfg.limits.Stagger, addrs[:min(len(addrs), mostVerified)], func(ctx context.Context, addr netip.AddrPort) (routing.Contact, error) {
		return d.verifyAt(ctx, e, addr, contact)
	})
	if err != nil {
		return contact, err
	}
	return verified, nil
}

func (d *Dialer) verifyAt(ctx context.Context, e endpoints.Endpoint, addr netip.AddrPort, contact routing.Contact) (routing.Contact, error) {
	at, err := d.settle(e, addr, &contact)
	if err != nil {
		return contact, err
	}
	if err := d.cfg.strangers.Begin(addr); err != nil {
		return contact, fmt.Errorf("dial %s: %w", addr, err)
	}
	_, err = client.Ping(ctx, d, contact)
	d.cfg.strangers.End(addr, dialOutcome(ctx, err))
	if err != nil {
		return contact, err
	}
	if contact.ClientID = d.clientIDAt(at); contact.ClientID == "" {
		return contact, fmt.Errorf("%w: %w", proto.ErrUnreachable, errConnLost) // so that nothing proves its id
	}
	if err := identity.Prove(ctx, d, contact); err != nil {
		return contact, err
	}
	contact.Verified, contact.LastSeen = true, time.Now()
	return contact, nil
}

// dialOutcome tells what a PING to an address that a stranger named says of that.
func dialOutcome(ctx context.Context, err error) dials.Outcome {
	_, refused := errors.AsType[*quic.ApplicationError](err)
	_, failed := errors.AsType[*quic.TransportError](err)
	switch {
	case err == nil:
		return dials.Reached
	case refused, failed, errors.Is(err, ErrNoReply), errors.Is(err, proto.ErrRemote), errors.Is(err, identity.ErrCertificate):
		return dials.Answered
	case errors.Is(err, ErrBackoff):
		return dials.NotDialled
	case errors.Is(context.Cause(ctx), context.Canceled): // another was faster
		return dials.GivenUp
	default:
		return dials.Silent
	}
}

// settle has a contact dialled by one of its name's addresses from here on: the
// name may lead elsewhere the next time that it is resolved. Where a certificate
// proves the name, it is kept beside the address: TLS asks for it, ours and that
// of those to whom the contact is named.
func (d *Dialer) settle(e endpoints.Endpoint, addr netip.AddrPort, contact *routing.Contact) (place, error) {
	bare := endpoints.At(addr)
	if e == bare || !d.cfg.accepts.Proves(e) {
		contact.Endpoint, contact.Addrs = bare.String(), nil
		return place{Endpoint: bare}, nil
	}
	at, err := Multiaddr(addr)
	if err != nil {
		return place{}, err
	}
	contact.Endpoint, contact.Addrs = e.String(), []ma.Multiaddr{at}
	return place{e, addr}, nil
}

// clientIDAt returns the ClientID of the node that is connected to at a place;
// empty where there is no connection.
func (d *Dialer) clientIDAt(p place) string {
	d.mu.Lock()
	l := d.pool[p]
	d.mu.Unlock()
	if l == nil {
		return ""
	}
	c := l.current()
	if c == nil {
		return ""
	}
	return c.clientID()
}
