// Package bootstrap brings a node into a network, and keeps it there: it sees to it
// that the node's bootstrap peers are contacts, and fills the table when one has
// become one. It brings it back after a restart through contacts that it has kept.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
)

// How a bootstrap peer is treated, unless an option says otherwise.
const (
	// DefaultFirstRetry is how long a bootstrap peer that did not answer is left
	// alone, doubled each time.
	DefaultFirstRetry = time.Second
	// DefaultLastRetry is what that grows to.
	DefaultLastRetry = time.Minute
	// DefaultLookAgain is how often it is seen to that a bootstrap peer is still
	// in the table.
	DefaultLookAgain = 30 * time.Second

	dialTimeout = 15 * time.Second // how long an attempt may take

	otherRealm = 10 // times the longest pause, for who serves another realm

	tag = "macula-dht/bootstrap" // protects bootstrap peers from the connection manager
)

// Retries are when bootstrap peers are tried. Each pause is half to one and a half of
// what they say.
type Retries struct {
	// First is after how long a peer that did not answer is tried again the first
	// time, Last what the pause grows to. One that serves another realm is tried at ten
	// times Last.
	First, Last time.Duration
	// LookAgain is how often it is seen to that a peer that answered is still in the
	// table.
	LookAgain time.Duration
}

// DefaultRetries returns the defaults above.
func DefaultRetries() Retries {
	return Retries{First: DefaultFirstRetry, Last: DefaultLastRetry, LookAgain: DefaultLookAgain}
}

// Check reports what is wrong with them.
func (r Retries) Check() error {
	if r.First <= 0 || r.Last < r.First || r.LookAgain <= 0 {
		return fmt.Errorf("retries after %v to %v, another look after %v: want more than 0, and the last not before the first", r.First, r.Last, r.LookAgain)
	}
	return nil
}

// State is how far a node is with a bootstrap peer.
type State uint8

// The states.
const (
	Trying     State = iota // it has not answered, or was lost
	Joined                  // it is a contact, or waits for a place in its bucket
	OtherRealm              // it serves another realm, and is tried more slowly
)

func (s State) String() string {
	switch s {
	case Joined:
		return "joined"
	case OtherRealm:
		return "serves another realm"
	default:
		return "trying"
	}
}

// Status is a bootstrap peer and how far a node is with it.
type Status struct {
	Peer  peer.AddrInfo
	State State
	Since time.Time // when the state began
	// Err is why the last attempt failed, nil where it did not or there was none. It
	// is a [proto.ErrRealmMismatch] in OtherRealm, and names both realms.
	Err error
}

// Config is what a Joiner works with.
type Config struct {
	Host     host.Host
	Contacts *routing.Server
	Realm    string
	Retries  Retries
	// Connect connects to a peer.
	Connect func(context.Context, peer.AddrInfo) error
	// Introduce has the peer at the other end of a connection admitted.
	Introduce func(network.Conn) error
	// Fill fills the table, once a bootstrap peer is a contact.
	Fill func(context.Context) error
	// Filled is told of that, with how many are known.
	Filled func(peers int)
	// State keeps contacts over a restart; nil for nothing that does.
	State state.State
	Log   *slog.Logger
}

// Joiner keeps bootstrap peers known, and with a state the best contacts in that: up to
// 64 that are verified and answered us within the last hour, those that are known for
// longest, of all buckets and of no IP group more than 4, with what was kept before for
// what room is left. Add joins through them beside the bootstrap peers, be there none. It
// is safe for concurrent use.
type Joiner struct {
	cfg      Config
	keeper   *keeper         // nil without a state
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	tasks    sync.WaitGroup
	answered chan struct{} // has a token when a bootstrap peer has
	joined   chan struct{} // closed by hasJoined
	back     chan struct{} // closed when the kept contacts are not tried any more

	hasJoined func() // once

	mu      sync.Mutex
	closed  bool
	filling bool // fill runs
	peers   []*member
}

// member is a bootstrap peer that is kept known; status is guarded by Joiner.mu.
type member struct {
	status Status
	left   context.Context // ends with the joiner, or by Remove
	leave  context.CancelFunc
}

// New returns a joiner of nobody yet.
func New(cfg Config) *Joiner {
	j := &Joiner{cfg: cfg, answered: make(chan struct{}, 1), joined: make(chan struct{}), back: make(chan struct{})}
	j.hasJoined = sync.OnceFunc(func() { close(j.joined) })
	j.ctx, j.cancel = context.WithCancel(context.Background())
	if cfg.State != nil {
		j.keeper = &keeper{state: state.Under(cfg.State, "contacts"), self: cfg.Contacts.Self()}
		if err := j.keeper.load(j.ctx); err != nil {
			cfg.Log.Error("contacts of before the restart can not be read: this node needs a bootstrap peer to join", "err", err)
		}
	}
	return j
}

// Close ends what Add began, and waits for it.
func (j *Joiner) Close() {
	j.mu.Lock()
	already := j.closed
	j.closed = true
	j.mu.Unlock()
	j.cancel()
	j.tasks.Wait()
	if j.keeper != nil && !already {
		j.keepLast()
	}
}

// Peers returns how far the node is with each of its bootstrap peers, in the order in
// which they were added.
func (j *Joiner) Peers() []Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]Status, len(j.peers))
	for i, m := range j.peers {
		all[i] = m.status
	}
	return all
}

// Joined is closed once a bootstrap peer, or a kept contact, has answered and the table
// has been filled.
func (j *Joiner) Joined() <-chan struct{} { return j.joined }

// Add has some peers kept known until the joiner is closed, or Remove; called for the
// first time, be it with none, it joins through the contacts that a state has kept, too.
// This node itself is passed over. A peer without an id is a [proto.ErrInvalidRequest], and
// after Close the error is [proto.ErrClosed].
func (j *Joiner) Add(peers ...peer.AddrInfo) error {
	for _, p := range peers {
		if err := p.ID.Validate(); err != nil {
			return fmt.Errorf("%w: bootstrap peer at %v: %w", proto.ErrInvalidRequest, p.Addrs, err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return proto.ErrClosed
	}
	if !j.filling {
		j.filling = true
		j.tasks.Go(j.fill)
		if j.keeper != nil {
			j.tasks.Go(j.comeBack)
		}
	}
	for _, p := range peers {
		if p.ID == j.cfg.Host.ID() {
			continue // one list for all nodes names each of them
		}
		if m := j.add(p); m != nil {
			j.tasks.Go(func() { j.keepKnown(m, p.ID) })
		}
	}
	return nil
}

// add notes a bootstrap peer; nil where it is kept known already. j.mu is held.
func (j *Joiner) add(p peer.AddrInfo) *member {
	for _, m := range j.peers {
		if known := &m.status.Peer; known.ID == p.ID {
			for _, a := range p.Addrs {
				if !slices.ContainsFunc(known.Addrs, a.Equal) {
					known.Addrs = append(slices.Clip(known.Addrs), a)
				}
			}
			return nil
		}
	}
	m := &member{status: Status{Peer: p, Since: time.Now()}}
	m.left, m.leave = context.WithCancel(j.ctx)
	j.peers = append(j.peers, m)
	return m
}

// Remove ends what Add does for a peer, and reports whether there was such a one.
func (j *Joiner) Remove(id peer.ID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.IndexFunc(j.peers, func(m *member) bool { return m.status.Peer.ID == id })
	if i < 0 {
		return false
	}
	j.peers[i].leave()
	j.peers = slices.Delete(j.peers, i, i+1)
	return true
}

// fill looks up what fills the table whenever a bootstrap peer has answered.
func (j *Joiner) fill() {
	for {
		select {
		case <-j.answered:
		case <-j.ctx.Done():
			return
		}
		err := j.cfg.Fill(j.ctx)
		if j.ctx.Err() != nil {
			return
		}
		if err != nil {
			j.cfg.Log.Warn("the lookups that fill the table ended early", "err", err)
		}
		j.hasJoined()
		j.cfg.Filled(len(j.cfg.Contacts.Contacts()))
	}
}

// isPeer reports whether a peer is a contact over libp2p. An Erlang node may stand
// there under its id: the same one, known by its endpoint alone.
func (j *Joiner) isPeer(p peer.ID) bool {
	c, is := j.cfg.Contacts.Contact(routing.IDFromPeer(p))
	return is && !c.IsErlang()
}

// keepKnown makes a peer a contact whenever it is none, and tells when it has
// become one, be it by another way, or waits for a place in its bucket; and again
// when it was lost meanwhile. Its connection is not for the connection manager to
// trim.
func (j *Joiner) keepKnown(m *member, id peer.ID) {
	cfg, ctx, log := j.cfg.Retries, m.left, j.cfg.Log
	j.cfg.Host.ConnManager().Protect(id, tag)
	defer j.cfg.Host.ConnManager().Unprotect(id, tag)
	retry, told, wasContact := cfg.First, false, false
	for ctx.Err() == nil {
		is, pause := j.isPeer(id), spread(cfg.LookAgain)
		told = told && (is || !wasContact)
		var err error
		if !is {
			err = j.meet(ctx, j.infoOf(m))
			is = j.isPeer(id)
		}
		wasContact = is
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, proto.ErrRealmMismatch):
			told, retry, pause = false, cfg.First, spread(otherRealm*cfg.Last)
			if j.note(m, OtherRealm, err) {
				log.Error("bootstrap peer serves another realm", "peer", id, "our_realm", j.cfg.Realm, "again_in", pause.Round(time.Millisecond), "err", err)
			}
		case err != nil:
			told, pause = false, spread(retry)
			retry = min(2*retry, cfg.Last)
			j.note(m, Trying, err)
			log.Warn("bootstrap peer not reached", "peer", id, "again_in", pause.Round(time.Millisecond), "err", err)
		case !told:
			told, retry = true, cfg.First
			j.note(m, Joined, nil)
			log.Info("connected to bootstrap peer", "peer", id)
			j.hasAnswered()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// hasAnswered has the table filled.
func (j *Joiner) hasAnswered() {
	select {
	case j.answered <- struct{}{}:
	default:
	}
}

func (j *Joiner) infoOf(m *member) peer.AddrInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	return m.status.Peer
}

// note notes how far the node is with a bootstrap peer, and reports whether that is
// new.
func (j *Joiner) note(m *member, state State, err error) (changed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if changed = m.status.State != state; changed {
		m.status.State, m.status.Since = state, time.Now()
	}
	m.status.Err = err
	return changed
}

// spread returns half to one and a half of a pause, so that many nodes do not come
// back at once.
func spread(pause time.Duration) time.Duration { return pause/2 + rand.N(pause) }

// meet connects to a peer, where there is no connection, and introduces us: it is
// a contact then, or waits for a place in its bucket.
func (j *Joiner) meet(ctx context.Context, p peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := j.cfg.Connect(ctx, p); err != nil {
		return err
	}
	for _, conn := range j.cfg.Host.Network().ConnsToPeer(p.ID) {
		if !conn.Stat().Limited {
			return j.cfg.Introduce(conn)
		}
	}
	return errors.New("the connection was lost, or leads through a relay")
}
