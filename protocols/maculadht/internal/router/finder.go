package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	corerouting "github.com/libp2p/go-libp2p/core/routing"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// How the addresses of peers without any are found.
const (
	findTimeout = 5 * time.Second
	findAtOnce  = 4                // others wait
	foundFor    = 10 * time.Minute // addresses are as good as new
	missedFor   = 5 * time.Minute  // who was not found is not sought again
	failedFor   = 15 * time.Second // nor who could not be sought
	maxFound    = 1024             // peers that are remembered; of more, the one that is forgotten first
)

// errNotSought: nobody could be asked where a contact is, which says nothing of it.
var errNotSought = errors.New("its addresses could not be sought")

// finder finds the addresses of peers, few at a time, and remembers them. It is safe
// for concurrent use.
type finder struct {
	host    host.Host
	routing corerouting.PeerRouting
	spawn   func(func(context.Context)) error // runs it until the service is closed
	slots   chan struct{}                     // one token for each peer that is being sought

	mu    sync.Mutex
	known map[peer.ID]*finding
}

// finding is what comes of seeking a peer.
type finding struct {
	done  chan struct{} // closed when the rest is set
	addrs []ma.Multiaddr
	err   error
	until time.Time
}

// over reports whether it has come to an end, and is out of date.
func (f *finding) over(now time.Time) bool {
	select {
	case <-f.done:
		return now.After(f.until)
	default:
		return false
	}
}

func newFinder(h host.Host, r corerouting.PeerRouting, spawn func(func(context.Context)) error) *finder {
	return &finder{host: h, routing: r, spawn: spawn, slots: make(chan struct{}, findAtOnce), known: make(map[peer.ID]*finding)}
}

// find returns the addresses of a peer, none where the host is connected to it. All who
// ask share one search, which does not end when they give up.
func (f *finder) find(ctx context.Context, p peer.ID) ([]ma.Multiaddr, error) {
	found, err := f.begin(p)
	if err != nil {
		return nil, err
	}
	select {
	case <-found.done:
		return found.addrs, found.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin returns what is known of a peer, or has it sought.
func (f *finder) begin(p peer.ID) (*finding, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if found := f.known[p]; found != nil && !found.over(time.Now()) {
		return found, nil
	}
	select {
	case f.slots <- struct{}{}:
	default:
		return nil, fmt.Errorf("%w: peer %s has no known address, and others are being sought", errNotSought, p)
	}
	found := &finding{done: make(chan struct{})}
	if err := f.spawn(func(ctx context.Context) { f.seek(ctx, p, found) }); err != nil {
		<-f.slots
		return nil, err
	}
	f.makeRoom()
	f.known[p] = found
	return found, nil
}

// makeRoom forgets one peer where maxFound are remembered: one that is out of date,
// else any.
func (f *finder) makeRoom() {
	if len(f.known) < maxFound {
		return
	}
	now := time.Now()
	var victim peer.ID
	for p, found := range f.known {
		victim = p
		if found.over(now) {
			break
		}
	}
	delete(f.known, victim)
}

func (f *finder) seek(ctx context.Context, p peer.ID, into *finding) {
	defer func() { <-f.slots }()
	defer close(into.done)
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	info, err := f.routing.FindPeer(ctx, p)
	for again := 0; again < 2 && err == nil && len(info.Addrs) == 0 && !f.connected(p); again++ {
		info, err = f.routing.FindPeer(ctx, p) // it had answered for a connection that has ended since
	}
	if len(info.Addrs) == 0 {
		info = f.host.Peerstore().PeerInfo(p) // others named some, by which kad-dht did not reach it
	}
	if slices.ContainsFunc(f.host.Addrs(), manet.IsPublicAddr) { // private ones lead nowhere, or into our own network
		info.Addrs = ma.FilterAddrs(info.Addrs, manet.IsPublicAddr)
	}
	switch {
	case info.ID == p && len(info.Addrs) > 0:
		into.addrs = info.Addrs[:min(len(info.Addrs), addressing.MaxContactAddrs)]
		into.until = time.Now().Add(foundFor)
	case f.connected(p): // it came by itself meanwhile, and has yet to say where it is
		into.until = time.Now()
	case f.wasSought(err):
		into.err = fmt.Errorf("%w: peer %s has no known address: %w", proto.ErrUnreachable, p, cmp.Or(err, corerouting.ErrNotFound))
		into.until = time.Now().Add(missedFor)
	default:
		into.err = fmt.Errorf("%w: peer %s has no known address: %v", errNotSought, p, cmp.Or(err, corerouting.ErrNotFound))
		into.until = time.Now().Add(failedFor)
	}
}

func (f *finder) connected(p peer.ID) bool {
	return f.host.Network().Connectedness(p) == network.Connected
}

// wasSought reports whether a search that found nothing got anywhere: others were
// asked, and this node is not cut off.
func (f *finder) wasSought(err error) bool {
	ended := err == nil || errors.Is(err, corerouting.ErrNotFound) || errors.Is(err, context.DeadlineExceeded)
	return ended && len(f.host.Network().Peers()) > 0
}
