package dialer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
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
// contact is dialled there from then on, wherever its name leads then.
//
// Errors are wire.ErrBadEndpoint, ErrElsewhere, ErrAnotherNode, those of Query, and
// that the name could not be resolved.
func (d *Dialer) Verify(ctx context.Context, contact routing.Contact, may func(netip.Addr) bool) (routing.Contact, error) {
	e, err := wire.ParseEndpoint(contact.Endpoint)
	if err != nil {
		return contact, err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	addrs, err := resolve(ctx, d.cfg.resolver, e)
	if err != nil {
		return contact, err
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.AddrPort) bool { return !may(a.Addr()) })
	if len(addrs) == 0 {
		return contact, ErrElsewhere
	}
	return d.verifyAny(ctx, e, addrs[:min(len(addrs), mostVerified)], contact)
}

// verifyAny verifies a contact at the first of some addresses that answers; each
// next one is asked a moment after the one before it.
func (d *Dialer) verifyAny(ctx context.Context, e wire.Endpoint, addrs []netip.AddrPort, contact routing.Contact) (routing.Contact, error) {
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		contact routing.Contact
		err     error
	}
	results := make(chan result, len(addrs))
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	next := time.NewTimer(0)
	defer next.Stop()
	var errs error
	for begun, failed := 0, 0; failed < len(addrs); {
		select {
		case <-next.C:
			addr := addrs[begun]
			asked.Go(func() {
				c, err := d.verifyAt(ctx, e, addr, contact)
				results <- result{c, err}
			})
			if begun++; begun < len(addrs) {
				next.Reset(d.cfg.limits.Stagger)
			}
		case r := <-results:
			if r.err == nil {
				return r.contact, nil
			}
			errs = errors.Join(errs, r.err)
			if failed++; begun < len(addrs) {
				next.Reset(0)
			}
		}
	}
	return contact, errs
}

func (d *Dialer) verifyAt(ctx context.Context, e wire.Endpoint, addr netip.AddrPort, contact routing.Contact) (routing.Contact, error) {
	at, err := d.settle(e, addr, &contact)
	if err != nil {
		return contact, err
	}
	if _, err := client.Ping(ctx, d, contact); err != nil {
		return contact, err
	}
	if contact.ClientID = d.clientIDAt(at); contact.ClientID == "" {
		return contact, fmt.Errorf("%w: %w", proto.ErrUnreachable, errConnLost) // so that nothing proves its id
	}
	if err := d.prove(ctx, contact); err != nil {
		return contact, err
	}
	contact.Verified, contact.LastSeen = true, time.Now()
	return contact, nil
}

// prove sees that a node's id is its own: that of its certificate, in either form,
// or the one that it answers with. An operator's NODE_ID can not be proved, and
// needs not to be.
func (d *Dialer) prove(ctx context.Context, contact routing.Contact) error {
	if IsClientID(contact.NodeID, contact.ClientID) {
		return nil
	}
	if !MatchesClientID(contact.NodeID, contact.ClientID) {
		return ErrAnotherNode
	}
	if len(contact.NodeID) != sha256.Size {
		return nil
	}
	request := make([]byte, 16)
	rand.Read(request) // never fails
	reply, err := d.Query(ctx, contact, &wire.NATProbe{NodeID: contact.NodeID, RequestID: request})
	if err != nil {
		return err
	}
	if probe, ok := reply.(*wire.NATProbeReply); !ok || !bytes.Equal(probe.NodeID, contact.NodeID) {
		return ErrAnotherNode
	}
	return nil
}

// settle has a contact dialled by one of its name's addresses from here on: the
// name may lead elsewhere the next time that it is resolved. Where a certificate
// proves the name, it is kept beside the address: TLS asks for it, ours and that
// of those to whom the contact is named.
func (d *Dialer) settle(e wire.Endpoint, addr netip.AddrPort, contact *routing.Contact) (place, error) {
	bare := wire.EndpointAt(addr)
	if e == bare || !d.cfg.proves(e) {
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
