// Package admission sees who comes to a host and goes, what they speak, and where they
// are; it introduces this node to them, and admits to the table those that serve
// /macula/dht/1.0.
package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/upkeep"
)

const (
	// connectTimeout is how long a CONNECT may take from its stream to the PONG.
	connectTimeout = 10 * time.Second
	// connectTries is how often a CONNECT is sent over one connection, where nothing
	// comes back, after connectPause, doubled each time.
	connectTries = 5
	connectPause = time.Second
	// gatherFor is for how long changes of our own addresses are waited for before
	// peers are told of them.
	gatherFor = 2 * time.Second
	// tellAtOnce is how many peers are told of them at a time.
	tellAtOnce = 8
)

// Config is what an Admission works with.
type Config struct {
	Host     host.Host
	Client   *client.Client
	Handlers *dht.Handlers
	Upkeep   *upkeep.Upkeep
	// LookAgain is how often it is looked for what no event tells of.
	LookAgain time.Duration
	Log       *slog.Logger
	Summary   *logs.Summary
	Came      func()                    // a peer that is connected was admitted, once while it is
	Left      func(after time.Duration) // the last connection of such a peer has ended
}

// Admission follows the peers of a host. It is safe for concurrent use.
type Admission struct {
	cfg     Config
	routing *routing.Server

	departures network.Notifiee // tells of connections that end

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // CONNECTs under way

	// addressing is held while a contact is given its addresses, so that the newest
	// stay; before mu.
	addressing sync.Mutex

	mu       sync.Mutex
	closed   bool
	sessions map[peer.ID]*session
}

// session is what is kept of a peer while it is connected.
type session struct {
	introduced network.Conn     // the connection over which a CONNECT was sent
	connect    *routing.Contact // its CONNECT, until it is known to speak the protocol
	over       network.Conn     // on which that came
	addrs      []ma.Multiaddr   // as identify told them last
	identified bool             // it has told them
	came       time.Time        // when it was admitted; zero where it was not
	lapsed     bool             // it stopped speaking the protocol, so neither side may know the other
	met        bool             // a CONNECT of either side was answered
	probing    bool             // it is being asked whether it speaks the protocol
	clock      clock            // as its PONG has told it
}

// New begins to follow the peers of a host, those that are connected already too.
func New(cfg Config) (*Admission, error) {
	a := &Admission{cfg: cfg, routing: cfg.Handlers.Routing(), sessions: make(map[peer.ID]*session)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	if err := a.watchPeers(); err != nil {
		a.cancel()
		return nil, err
	}
	return a, nil
}

// Close ends it, and waits for the CONNECTs that are under way.
func (a *Admission) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.cfg.Host.Network().StopNotify(a.departures)
	a.tasks.Wait()
}

// begin accounts for a task, unless the admission is closed.
func (a *Admission) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.tasks.Add(1)
	}
	return !a.closed
}

// sessionOf returns what is kept of a connected peer; a.mu is held.
func (a *Admission) sessionOf(p peer.ID) *session {
	ps := a.sessions[p]
	if ps == nil {
		ps = &session{}
		a.sessions[p] = ps
	}
	return ps
}

// Admit takes the CONNECT of a peer. It enters the table as soon as it is known
// to answer others: a peer that only asks is no contact.
func (a *Admission) Admit(conn network.Conn, m *wire.Connect) *wire.Disconnect {
	p := conn.RemotePeer()
	if !isNodeIDOf(p, m.NodeID) {
		return &wire.Disconnect{Reason: wire.ReasonNodeIDMismatch,
			Message: fmt.Sprintf("The node id of peer %s is %s: the SHA-256 of its peer id", p, routing.IDFromPeer(p))}
	}
	contact := a.contactOf(conn, bytes.Clone(m.NodeID), m.Endpoint, bytes.Clone(m.StoreID))
	a.cfg.Client.Renew(conn)
	a.mu.Lock()
	ps := a.sessionOf(p)
	ps.connect, ps.over, ps.met = contact, conn, true
	a.mu.Unlock()
	a.onSpeaks(p) // admits at once where identify has told
	if !a.speaks(p) {
		a.probe(p)
	}
	return nil
}

// enter puts a verified contact into the table, with the addresses that identify has
// told by now of the peer at the other end of its connection.
func (a *Admission) enter(c routing.Contact, over network.Conn) {
	a.addressing.Lock()
	c.Addrs = a.addrsOf(over)
	err := a.routing.Admit(c)
	a.addressing.Unlock()
	switch {
	case errors.Is(err, routing.ErrBucketFull):
		a.cfg.Log.Debug("bucket full", "peer", c.Peer)
	case err != nil:
		a.cfg.Summary.Info("peer not admitted", "peer", c.Peer, "err", err)
	case !a.speaks(c.Peer): // it became a client meanwhile, and onSilent came too early
		a.routing.Forget(c.ID)
	default:
		a.noteCame(c)
		if a.cfg.Host.Network().Connectedness(c.Peer) == network.NotConnected {
			a.routing.Table().Doubt(c.ID, time.Now()) // it left before it was here
		}
	}
}

// contactOf returns the contact that a peer makes of itself by CONNECT or PONG. Its
// addresses are those that identify tells, not what it says there; see enter.
func (a *Admission) contactOf(conn network.Conn, nodeID []byte, endpoint string, storeID []byte) *routing.Contact {
	p := conn.RemotePeer()
	return &routing.Contact{
		ID:           routing.IDFromPeer(p),
		NodeID:       nodeID,
		Peer:         p,
		Endpoint:     learntEndpoint(endpoint, conn.RemoteMultiaddr()),
		EndpointSeen: isAt(endpoint, conn.RemoteMultiaddr()),
		SeenAt:       seenAt(conn.RemoteMultiaddr()),
		SeenIP:       addressing.SeenIP(conn.RemoteMultiaddr()),
		Verified:     true, // its connection proves the peer id, and that the id
		LastSeen:     time.Now(),
		StoreID:      storeID,
	}
}
func isNodeIDOf(p peer.ID, nodeID []byte) bool {
	id := routing.IDFromPeer(p)
	return bytes.Equal(id[:], nodeID)
}

// Sessions returns of how many connected peers something is kept.
func (a *Admission) Sessions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.sessions)
}

// Waits reports whether a peer has sent its CONNECT and is not known to speak the
// protocol.
func (a *Admission) Waits(p peer.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ps := a.sessions[p]
	return ps != nil && ps.connect != nil
}
