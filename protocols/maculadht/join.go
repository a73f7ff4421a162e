package maculadht

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
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

	joinDial = 15 * time.Second // how long an attempt may take

	otherRealm = 10 // times the longest pause, for who serves another realm

	bootstrapTag = "macula-dht/bootstrap" // protects bootstrap peers from the connection manager
)

type joinConfig struct {
	firstRetry, lastRetry, lookAgain time.Duration
}

// WithRetries sets after how long a bootstrap peer that did not answer is tried
// again the first time, what the pause grows to, and how often it is seen to that
// one that did is still in the table. Each pause is half to one and a half of
// that. One that serves another realm is tried at ten times the longest pause.
func WithRetries(first, last, lookAgain time.Duration) Option {
	return func(c *serviceConfig) error {
		if first <= 0 || last < first || lookAgain <= 0 {
			return fmt.Errorf("retries after %v to %v, another look after %v: want more than 0, and the last not before the first", first, last, lookAgain)
		}
		c.join = joinConfig{first, last, lookAgain}
		return nil
	}
}

// BootstrapState is how far this node is with a bootstrap peer.
type BootstrapState uint8

// The states.
const (
	BootstrapTrying     BootstrapState = iota // it has not answered, or was lost
	BootstrapJoined                           // it is a contact, or waits for a place in its bucket
	BootstrapOtherRealm                       // it serves another realm, and is tried more slowly
)

func (b BootstrapState) String() string {
	switch b {
	case BootstrapJoined:
		return "joined"
	case BootstrapOtherRealm:
		return "serves another realm"
	default:
		return "trying"
	}
}

// BootstrapStatus is a bootstrap peer and how far this node is with it.
type BootstrapStatus struct {
	Peer  peer.AddrInfo
	State BootstrapState
	Since time.Time // when the state began
	// Err is why the last attempt failed, nil where it did not or there was none. It
	// is a [proto.ErrRealmMismatch] in BootstrapOtherRealm, and names both realms.
	Err error
}

// bootstrapPeer is a bootstrap peer that is kept known; guarded by Service.mu.
type bootstrapPeer struct {
	status BootstrapStatus
	left   context.Context // ends with the service, or by Unjoin
	leave  context.CancelFunc
}

// Bootstrap returns how far this node is with each of its bootstrap peers, in the
// order in which Join was given them.
func (s *Service) Bootstrap() []BootstrapStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]BootstrapStatus, len(s.bootstrap))
	for i, b := range s.bootstrap {
		all[i] = b.status
	}
	return all
}

// Join brings this node into the network of some bootstrap peers, and keeps it
// there until the service is closed, or Unjoin. It returns at once, and ctx bounds
// no more than that.
//
// Each peer is tried, with a growing pause, until it answers, be it much later;
// and again when it has left the table, as in two halves of a network that have
// lost each other. Once one is a contact over libp2p, lookups of this node's own id
// and of one in each bucket fill the table, and the log says how many peers are
// known; see Joined and Bootstrap. This node itself is passed over. A peer without an
// id is an ErrInvalidRequest, and after Close the error is ErrClosed.
func (s *Service) Join(ctx context.Context, peers ...peer.AddrInfo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, p := range peers {
		if err := p.ID.Validate(); err != nil {
			return fmt.Errorf("%w: bootstrap peer at %v: %w", proto.ErrInvalidRequest, p.Addrs, err)
		}
	}
	s.mu.Lock()
	closed, first := s.closed, !s.filling
	s.filling = true
	s.mu.Unlock()
	if closed {
		return proto.ErrClosed
	}
	if first {
		if err := s.spawn(s.fillTable); err != nil {
			return err
		}
	}
	for _, p := range peers {
		if p.ID == s.host.ID() {
			continue // one list for all nodes names each of them
		}
		if b := s.newBootstrapPeer(p); b != nil {
			if err := s.spawn(func(context.Context) { s.keepKnown(b.left, b) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// Unjoin ends what Join does for a bootstrap peer: it is not tried any more. Where
// it is a contact it stays one, as any other. It reports whether there was such a
// peer.
func (s *Service) Unjoin(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.bootstrap, func(b *bootstrapPeer) bool { return b.status.Peer.ID == id })
	if i < 0 {
		return false
	}
	s.bootstrap[i].leave()
	s.bootstrap = slices.Delete(s.bootstrap, i, i+1)
	return true
}

// newBootstrapPeer notes a bootstrap peer; nil where it is kept known already.
func (s *Service) newBootstrapPeer(p peer.AddrInfo) *bootstrapPeer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bootstrap {
		if known := &b.status.Peer; known.ID == p.ID {
			for _, a := range p.Addrs {
				if !slices.ContainsFunc(known.Addrs, a.Equal) {
					known.Addrs = append(slices.Clip(known.Addrs), a)
				}
			}
			return nil
		}
	}
	b := &bootstrapPeer{status: BootstrapStatus{Peer: p, Since: time.Now()}}
	b.left, b.leave = context.WithCancel(s.ctx)
	s.bootstrap = append(s.bootstrap, b)
	return b
}

// fillTable looks up what fills the table whenever a bootstrap peer has answered.
func (s *Service) fillTable(ctx context.Context) {
	for {
		select {
		case <-s.answered:
		case <-ctx.Done():
			return
		}
		err := s.upkeep.Join(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.log.Warn("the lookups that fill the table ended early", "err", err)
		}
		s.hasJoined()
		peers := len(s.routing.Contacts())
		s.log.Info("joined the network", "realm", s.handlers.Realm(), "as", s.Mode(), "peers", peers)
		s.tracer.Joined(peers)
	}
}

// Joined is closed once a bootstrap peer has answered and the table has been
// filled: what is stored before may reach nobody, and what is looked up before may
// not be found. It is never closed without Join, nor where nobody answers.
func (s *Service) Joined() <-chan struct{} { return s.joined }

// spawn runs f until it returns, in a goroutine that Close waits for. Its context
// ends with the service. After Close it fails with ErrClosed.
func (s *Service) spawn(f func(context.Context)) error {
	if !s.begin() {
		return proto.ErrClosed
	}
	go func() {
		defer s.tasks.Done()
		f(s.ctx)
	}()
	return nil
}

// isPeer reports whether a peer is a contact over libp2p. An Erlang node may stand
// there under its id: the same one, known by its endpoint alone.
func (s *Service) isPeer(p peer.ID) bool {
	c, is := s.routing.Contact(routing.IDFromPeer(p))
	return is && !c.IsErlang()
}

// keepKnown makes a peer a contact whenever it is none, and tells when it has
// become one, be it by another way, or waits for a place in its bucket; and again
// when it was lost meanwhile. Its connection is not for the connection manager to
// trim.
func (s *Service) keepKnown(ctx context.Context, b *bootstrapPeer) {
	cfg := s.joining
	s.mu.Lock()
	id := b.status.Peer.ID
	s.mu.Unlock()
	s.host.ConnManager().Protect(id, bootstrapTag)
	defer s.host.ConnManager().Unprotect(id, bootstrapTag)
	retry, told, wasContact := cfg.firstRetry, false, false
	for ctx.Err() == nil {
		is, pause := s.isPeer(id), spread(cfg.lookAgain)
		told = told && (is || !wasContact)
		var err error
		if !is {
			err = s.meet(ctx, b)
			is = s.isPeer(id)
		}
		wasContact = is
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, proto.ErrRealmMismatch):
			told, retry, pause = false, cfg.firstRetry, spread(otherRealm*cfg.lastRetry)
			if s.note(b, BootstrapOtherRealm, err) {
				s.log.Error("bootstrap peer serves another realm", "peer", id, "realm", s.handlers.Realm(), "again_in", pause.Round(time.Millisecond), "err", err)
			}
		case err != nil:
			told, pause = false, spread(retry)
			retry = min(2*retry, cfg.lastRetry)
			s.note(b, BootstrapTrying, err)
			s.noteClock(err)
			s.log.Warn("bootstrap peer not reached", "peer", id, "again_in", pause.Round(time.Millisecond), "err", err)
		case !told:
			told, retry = true, cfg.firstRetry
			s.note(b, BootstrapJoined, nil)
			s.log.Info("connected to bootstrap peer", "peer", id)
			select {
			case s.answered <- struct{}{}:
			default:
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// note notes how far this node is with a bootstrap peer, and reports whether that is
// new.
func (s *Service) note(b *bootstrapPeer, state BootstrapState, err error) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if changed = b.status.State != state; changed {
		b.status.State, b.status.Since = state, time.Now()
	}
	b.status.Err = err
	return changed
}

// spread returns half to one and a half of a pause, so that many nodes do not come
// back at once.
func spread(pause time.Duration) time.Duration { return pause/2 + rand.N(pause) }

// meet connects to a peer, where there is no connection, and introduces us: it is
// a contact then, or waits for a place in its bucket.
func (s *Service) meet(ctx context.Context, b *bootstrapPeer) error {
	s.mu.Lock()
	p := b.status.Peer
	s.mu.Unlock()
	if sw, ok := s.host.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(p.ID) // the pace is ours: the swarm's own grows to minutes
	}
	ctx, cancel := context.WithTimeout(ctx, joinDial)
	defer cancel()
	at := routing.Contact{Peer: p.ID, Addrs: p.Addrs}
	if err := s.locate(ctx, &at, true); err != nil {
		return err
	}
	p.Addrs = at.Addrs
	if err := s.host.Connect(ctx, p); err != nil {
		return err
	}
	for _, conn := range s.host.Network().ConnsToPeer(p.ID) {
		if conn.Stat().Limited {
			continue
		}
		s.mu.Lock()
		if conn.Stat().Direction == network.DirOutbound && !s.closed {
			s.session(p.ID).introduced = conn // now, so not once more by its event
		}
		s.mu.Unlock()
		err := s.introduce(conn)
		s.forgetIfGone(p.ID)
		return err
	}
	return errors.New("the connection was lost, or leads through a relay")
}
