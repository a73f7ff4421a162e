package compat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// uplink is what is kept of one gateway that an operator named.
type uplink struct {
	*Uplinks

	endpoint Endpoint
	log      *slog.Logger
	looked   bool                 // it has told its realm once
	tried    map[string]time.Time // endpoints of neighbours, and when they were last verified

	mu         sync.Mutex
	registered *routing.Contact // the gateway, while there is a session
}

// session returns the gateway as a contact while this node is registered there.
func (u *uplink) session() (routing.Contact, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.registered == nil {
		return routing.Contact{}, false
	}
	return *u.registered, true
}

func (u *uplink) setSession(c *routing.Contact) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.registered = c
}

// What an uplink has to do next, beside to try again.
var (
	errUnlisted  = errors.New("it does not list itself yet, so its realm is not known")
	errTwoRealms = errors.New("it lists itself with two realms, so which one it serves is not known")
	errOurself   = errors.New("it is this node itself")
	errMoved     = errors.New("the connection was made anew meanwhile")
	errListing   = errors.New("whether this node may be listed has changed")
)

// run keeps a session until the uplinks are closed.
func (u *uplink) run() {
	retry, lookAgain := u.cfg.first, u.cfg.lookAgain
	for u.ctx.Err() == nil {
		lasted, err := u.serve()
		if lasted {
			retry, lookAgain = u.cfg.first, u.cfg.lookAgain
		}
		pause := retry/2 + rand.N(retry) // so that many nodes do not come back at once
		switch {
		case u.ctx.Err() != nil:
			return
		case errors.Is(err, errOurself):
			u.log.Info("the bootstrap gateway is this node itself")
			return
		case errors.Is(err, errUnlisted):
			pause = lookAgain
			lookAgain = min(2*lookAgain, max(u.cfg.last, u.cfg.lookAgain)) // one that never does is no reason to ask for ever
			u.log.Info("gateway not joined yet", "again_in", pause, "err", err)
		case errors.Is(err, ErrOtherRealm):
			retry, pause = u.cfg.last, u.cfg.last
			u.log.Error("gateway not joined", "again_in", pause, "err", err)
		case errors.Is(err, errListing):
			continue
		default:
			retry = min(2*retry, u.cfg.last)
			u.log.Warn("gateway not reached", "again_in", pause.Round(time.Millisecond), "err", err)
		}
		select {
		case <-time.After(pause):
		case <-u.ctx.Done():
		}
	}
}

// serve is one connection's life: the look, the CONNECT, and signs of life until
// one is missing. It reports whether there was any: a gateway that ends each session
// right after its PONG is not come back to at once.
func (u *uplink) serve() (lasted bool, err error) {
	at := place{Endpoint: u.endpoint}
	l, err := u.dialer.link(at)
	if err != nil {
		return false, err
	}
	defer u.dialer.leave(l)
	if _, err := l.awake(); err != nil {
		return false, err
	}
	c, err := l.connect(u.ctx)
	if err != nil {
		return false, err
	}
	defer l.leaveConn(c)

	contact := routing.Contact{Endpoint: u.endpoint.String(), ClientID: u.dialer.clientIDAt(at)}
	if contact.ClientID != "" && contact.ClientID == u.cfg.self {
		return false, errOurself
	}
	own, neighbours, err := u.look(contact, c)
	if err != nil {
		return false, err
	}
	contact.NodeID, contact.ID = own.NodeID, routing.IDFromBytes(own.NodeID)
	contact.Verified, contact.LastSeen = true, time.Now()

	ended := make(chan error, 1)
	if why := u.unlistable(c); why != "" {
		u.log.Info("joined the gateway without telling it of this node", "why", why)
	} else {
		if l.current() != c {
			return false, errMoved
		}
		r, err := u.register(l, c, ended)
		if err != nil {
			return false, err
		}
		defer r.end()
		contact.NodeID, contact.ID = r.nodeID, routing.IDFromBytes(r.nodeID)
		u.setSession(&contact)
		defer u.setSession(nil)
		u.log.Info("joined the gateway", "node_id", contact.ID, "realm", own.Realm)
	}
	u.admit(contact)
	return u.stay(contact, own, neighbours, l, c, ended)
}

// stay meets the gateway's neighbours and watches over it until the session ends.
func (u *uplink) stay(contact routing.Contact, own wire.Gateway, neighbours wire.GatewayList, l *link, c *conn, ended <-chan error) (lasted bool, err error) {
	ctx, cancel := context.WithCancel(u.ctx)
	lists := make(chan wire.GatewayList, 1)
	lists <- neighbours
	var meeting sync.WaitGroup
	meeting.Go(func() { // beside the signs of life: a neighbour that is silent takes its time
		for {
			select {
			case list := <-lists:
				u.meet(ctx, own, list, c)
			case <-ctx.Done():
				return
			}
		}
	})
	defer meeting.Wait()
	defer cancel()
	return u.watch(contact, l, c, ended, lists)
}

// watch asks the gateway for signs of life, and for its neighbours, until the
// session ends.
func (u *uplink) watch(contact routing.Contact, l *link, c *conn, ended <-chan error, lists chan<- wire.GatewayList) (lasted bool, err error) {
	_, wasListed := u.session()
	met := time.Now()
	ping := time.NewTicker(u.cfg.ping)
	defer ping.Stop()
	for {
		select {
		case <-ping.C:
		case err := <-ended:
			return lasted, fmt.Errorf("%w: the session's stream ended: %w", routing.ErrUnreachable, err)
		case <-c.Context().Done():
			return lasted, fmt.Errorf("%w: %w", routing.ErrUnreachable, context.Cause(c.Context()))
		case <-u.ctx.Done():
			return lasted, u.ctx.Err()
		}
		if _, err := maculadht.Ping(u.ctx, u.dialer, contact); err != nil {
			return lasted, err
		}
		lasted = true
		if l.current() != c {
			return lasted, errMoved // else the session would keep a second connection
		}
		contact.LastSeen = time.Now()
		u.admit(contact)
		if mayBe := u.unlistable(c) == ""; mayBe != wasListed {
			return lasted, errListing
		}
		if time.Since(met) < u.cfg.neighbours {
			continue
		}
		met = time.Now()
		list, err := maculadht.ListGateways(u.ctx, u.dialer, contact)
		if err != nil {
			return lasted, err
		}
		select {
		case lists <- list:
		default: // those of the last time are still being met
		}
	}
}

// look asks a gateway who it is, and returns its own entry and those of others.
func (u *uplink) look(contact routing.Contact, c *conn) (own wire.Gateway, others wire.GatewayList, err error) {
	list, err := maculadht.ListGateways(u.ctx, u.dialer, contact)
	if err != nil {
		return own, nil, err
	}
	if own, err = ownEntry(list, contact.ClientID, u.endpoint, remoteAddr(c)); err != nil {
		return own, nil, err
	}
	ours := u.handlers.Realm()
	first := !u.looked
	u.looked = true
	if own.Realm != ours {
		err := fmt.Errorf("%w: %s serves %q, this node %q: name a gateway of this realm, or give this node that one", ErrOtherRealm, u.endpoint, own.Realm, ours)
		if first {
			u.refusals <- err // has room for one of each gateway
		}
		return own, nil, err
	}
	return own, list, nil
}

// ownEntry returns the entry of the gateway that has sent a list: its node id is
// the digest of its certificate or, where the operator has given it another one,
// its host and port are where it was reached. Anybody may have stored an entry
// there, so those that could be its own have to agree on the realm: a CONNECT
// of the wrong one hangs it. The error is errUnlisted or errTwoRealms.
func ownEntry(list wire.GatewayList, clientID string, e Endpoint, remote netip.AddrPort) (wire.Gateway, error) {
	var byKey, byPlace []wire.Gateway
	for _, g := range list {
		if clientID != "" && strings.EqualFold(string(g.NodeID), clientID) {
			byKey = append(byKey, g)
			continue
		}
		at, err := parseSent(endpointOf(g))
		if err != nil || !isClaimed(g.NodeID, clientID) {
			continue // nowhere, or another node that was there once
		}
		if ip, err := netip.ParseAddr(at.Host); at == e || err == nil && netip.AddrPortFrom(ip, at.Port) == remote {
			byPlace = append(byPlace, g)
		}
	}
	own := byKey
	if len(own) == 0 {
		own = byPlace
	}
	if len(own) == 0 {
		return wire.Gateway{}, errUnlisted
	}
	for _, g := range own[1:] {
		if g.Realm != own[0].Realm {
			return wire.Gateway{}, fmt.Errorf("%w: %q and %q", errTwoRealms, own[0].Realm, g.Realm)
		}
	}
	return own[0], nil
}

// endpointOf returns where a list says that a gateway is.
func endpointOf(g wire.Gateway) string {
	return "https://" + net.JoinHostPort(g.Host, fmt.Sprint(g.Port))
}

// remoteAddr returns the address at the other end of a connection.
func remoteAddr(c *conn) netip.AddrPort {
	udp, ok := c.RemoteAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := udp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// reachableFrom reports whether an address can mean the same node to somebody at
// another one as to us: a private address means nothing to the public network,
// and a loopback address nothing to another machine.
func reachableFrom(from, ip netip.Addr) bool {
	switch {
	case ip.IsUnspecified() || ip.IsMulticast():
		return false
	case ip.IsLoopback():
		return from.IsLoopback()
	}
	return isPublic(ip) || !isPublic(from)
}

// unlistable says why a gateway is not to list this node, nothing if it may.
func (u *uplink) unlistable(c *conn) string {
	endpoint := u.handlers.Endpoint()
	if endpoint == "" {
		return "it has no endpoint"
	}
	if !u.cfg.listable() {
		return "it is a client, which answers nobody"
	}
	e, err := ParseEndpoint(endpoint)
	if err != nil {
		return err.Error()
	}
	if ip, err := netip.ParseAddr(e.Host); err == nil && !reachableFrom(remoteAddr(c).Addr(), ip) {
		return fmt.Sprintf("its endpoint %s can not be reached from there", endpoint)
	}
	return ""
}

// admit takes the gateway for a contact.
func (u *uplink) admit(contact routing.Contact) {
	if err := u.handlers.Routing().Admit(contact); err != nil {
		u.log.Debug("gateway not admitted", "err", err)
	}
}

// meet takes the neighbours that a gateway lists for contacts, once each has
// answered. A gateway does not get us to dial into our own network, or ourselves,
// by an address that can not be what it meant. Of one that was tried a short while
// ago nothing is asked.
func (u *uplink) meet(ctx context.Context, own wire.Gateway, list wire.GatewayList, c *conn) {
	gateway := remoteAddr(c).Addr()
	may := func(ip netip.Addr) bool { return reachableFrom(gateway, ip) }
	for endpoint, when := range u.tried {
		if time.Since(when) >= u.cfg.neighbours {
			delete(u.tried, endpoint)
		}
	}
	for _, g := range list[:min(len(list), maculadht.MaxGateways)] {
		endpoint := endpointOf(g)
		if g.Realm != u.handlers.Realm() || string(g.NodeID) == string(own.NodeID) || u.isOurs(g, endpoint) {
			continue
		}
		if _, again := u.tried[endpoint]; again {
			continue
		}
		u.tried[endpoint] = time.Now()
		neighbour, err := u.dialer.verify(ctx, routing.Contact{
			ID:       routing.IDFromBytes(g.NodeID),
			NodeID:   g.NodeID,
			Endpoint: endpoint,
		}, may)
		if ctx.Err() != nil {
			return
		}
		if err == nil && neighbour.ClientID != "" && neighbour.ClientID == u.cfg.self {
			err = errOurself
		}
		if err != nil {
			u.log.Debug("neighbour not verified", "endpoint", endpoint, "err", err)
			continue
		}
		u.admit(neighbour)
	}
}

// isOurs reports whether an entry is this node's.
func (u *uplink) isOurs(g wire.Gateway, endpoint string) bool {
	self := u.handlers.Routing().Self()
	return string(g.NodeID) == string(self[:]) || endpoint == u.handlers.Endpoint() ||
		u.cfg.self != "" && strings.EqualFold(string(g.NodeID), u.cfg.self)
}
