package compat

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// verifyTimeout is how long an endpoint has to answer a PING.
const verifyTimeout = 15 * time.Second

// errElsewhere: an endpoint is not at an address that may be dialled for it.
var errElsewhere = errors.New("it is at no address that may be dialled for it")

// verify has the endpoint that a node is said to have answer a PING, and returns
// the contact that the node then is. The endpoint is dialled only at an address
// that may be: else it could be somebody else's, whom we would be sent to.
func (d *Dialer) verify(ctx context.Context, contact routing.Contact, may func(netip.Addr) bool) (routing.Contact, error) {
	e, err := parseSent(contact.Endpoint)
	if err != nil {
		return contact, err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	addrs, err := e.resolve(ctx)
	if err != nil {
		return contact, err
	}
	i := slices.IndexFunc(addrs, func(a netip.AddrPort) bool { return may(a.Addr()) })
	if i < 0 {
		return contact, errElsewhere
	}
	at, err := d.settle(e, addrs[i], &contact)
	if err != nil {
		return contact, err
	}
	if _, err := maculadht.Ping(ctx, d, contact); err != nil {
		return contact, err
	}
	contact.ClientID = d.clientIDAt(at)
	if !isClaimed(contact.NodeID, contact.ClientID) {
		return contact, errAnotherNode
	}
	contact.Verified, contact.LastSeen = true, time.Now()
	return contact, nil
}
