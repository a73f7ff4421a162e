package gateway

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// How long a listener that ended is waited for before another one is opened: doubled
// while that fails, or does not last as long as the longest pause.
const (
	firstReopen = time.Second
	lastReopen  = 30 * time.Second
)

// ListenerStatus says whether Erlang nodes are served at an address.
type ListenerStatus struct {
	// Addr is where; with its port.
	Addr net.Addr
	// Err is why they are not at the moment: the listener ended, and no other one
	// could be opened yet. Nil where they are.
	Err error
	// Since is when they were served, or not served any more.
	Since time.Time
}

// Listening returns how it stands with each address that is listened on, in the order
// in which the gateway was given them.
func (g *Gateway) Listening() []ListenerStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]ListenerStatus, len(g.bindings))
	for i, b := range g.bindings {
		all[i] = b.status
	}
	return all
}

// Endpoint returns where Erlang nodes reach the gateway, "https://host:port": of the
// addresses that are listened on, and of the machine's where that is all of them, as
// they were then, the one that leads here from the farthest, IPv4 before IPv6. It is
// empty where nothing is listened on, and after Close.
func (g *Gateway) Endpoint() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var best netip.AddrPort
	for _, b := range g.bindings {
		for _, at := range b.at {
			if !best.IsValid() || distance(at.Addr()) < distance(best.Addr()) {
				best = at
			}
		}
	}
	if g.closed || !best.IsValid() {
		return ""
	}
	return endpoints.At(best).String()
}

// distance ranks an address: the less, the farther it leads here from.
func distance(ip netip.Addr) int {
	rank := 2 * int(addressing.ReachOf(ip))
	if ip.Is6() {
		rank++
	}
	return rank
}

// dialable returns the addresses, with their port, by which others reach what listens
// at one: the machine's where that is all of them.
func dialable(at net.Addr) (all []netip.AddrPort) {
	udp, ok := at.(*net.UDPAddr)
	if !ok {
		return nil
	}
	ap := udp.AddrPort()
	ip := ap.Addr().Unmap()
	ips := []netip.Addr{ip}
	if ip.IsUnspecified() {
		ips = machineAddrs(ip)
	}
	for _, ip := range ips {
		if ip.IsValid() && !(ip.Is6() && ip.IsLinkLocalUnicast()) { // which need a zone that only we know
			all = append(all, netip.AddrPortFrom(ip, ap.Port()))
		}
	}
	return all
}

// machineAddrs returns the addresses that a wildcard stands for; of IPv6 it is one for
// IPv4 too.
func machineAddrs(wildcard netip.Addr) (ips []netip.Addr) {
	nets, _ := net.InterfaceAddrs() // without them there is no endpoint to tell
	for _, n := range nets {
		if prefix, err := netip.ParsePrefix(n.String()); err == nil && (wildcard.Is6() || prefix.Addr().Is4()) {
			ips = append(ips, prefix.Addr())
		}
	}
	return ips
}

// bound is an open listener, with its port where that is the gateway's own; empty
// when it has ended.
type bound struct {
	Listener
	port io.Closer // nil: somebody else's. It is closed after the connections on it
}

func (b bound) closeListener() error {
	if b.Listener == nil {
		return nil
	}
	return b.Listener.Close()
}

func (b bound) closePort() error {
	if b.port == nil {
		return nil
	}
	return b.port.Close()
}

// binding is a place that is listened on for as long as the gateway lives.
type binding struct {
	open func() (bound, error)

	bound  // guarded by Gateway.mu, as what follows
	status ListenerStatus
	at     []netip.AddrPort // how others reach it
}

// bind opens a listener, serves it, and opens it again whenever it ends.
func (g *Gateway) bind(open func() (bound, error)) (net.Addr, error) {
	if g.ctx.Err() != nil {
		return nil, proto.ErrClosed
	}
	now, err := open()
	if err != nil {
		return nil, err
	}
	b := &binding{open: open, bound: now, status: ListenerStatus{Addr: now.Addr(), Since: time.Now()}, at: dialable(now.Addr())}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errors.Join(proto.ErrClosed, now.closeListener(), now.closePort())
	}
	g.bindings = append(g.bindings, b)
	g.tasks.Go(func() { g.keepListening(b, now) })
	return b.status.Addr, nil
}

// keepListening serves a binding until the gateway is closed.
func (g *Gateway) keepListening(b *binding, now bound) {
	log := g.cfg.log.With("addr", b.status.Addr)
	pause := firstReopen
	for {
		opened := time.Now()
		err := g.accept(now)
		if g.ctx.Err() != nil {
			return
		}
		ended := time.Now()
		if ended.Sub(opened) >= lastReopen {
			pause = firstReopen
		}
		if !g.setBound(b, bound{}, err) {
			return
		}
		err = errors.Join(err, now.closeListener(), now.closePort())
		log.Error("Erlang nodes are not served any more: the listener ended", "again_in", pause, "err", err)
		for {
			select {
			case <-time.After(pause):
			case <-g.ctx.Done():
				return
			}
			pause = min(2*pause, lastReopen)
			if now, err = b.open(); err == nil {
				break
			}
			if !g.setBound(b, bound{}, err) {
				return
			}
			log.Warn("could not listen for Erlang nodes again", "again_in", pause, "err", err)
		}
		if !g.setBound(b, now, nil) {
			_ = errors.Join(now.closeListener(), now.closePort()) // closed meanwhile, and nobody waits for it
			return
		}
		log.Info("Erlang nodes are served again", "after", time.Since(ended).Round(time.Millisecond))
	}
}

// setBound notes what a binding has now, or why nothing, and reports whether the
// gateway still lives: else what there was before is its Close's.
func (g *Gateway) setBound(b *binding, now bound, err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	was := b.status.Err == nil
	b.bound, b.status.Err = now, err
	if is := err == nil; is != was {
		b.status.Since = time.Now()
	}
	return true
}
