package maculadht

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
)

type joinConfig struct {
	firstRetry, lastRetry, lookAgain time.Duration
}

// WithRetries sets after how long a bootstrap peer that did not answer is tried
// again the first time, what the pause grows to, and how often it is seen to that
// one that did is still in the table. Each pause is half to one and a half of
// that.
func WithRetries(first, last, lookAgain time.Duration) Option {
	return func(c *serviceConfig) error {
		if first <= 0 || last < first || lookAgain <= 0 {
			return fmt.Errorf("retries after %v to %v, another look after %v: want more than 0, and the last not before the first", first, last, lookAgain)
		}
		c.join = joinConfig{first, last, lookAgain}
		return nil
	}
}

// Join brings this node into the network of some bootstrap peers, and keeps it
// there until ctx ends or the service is closed. It returns at once.
//
// Each peer is tried, with a growing pause, until it answers, be it much later;
// and again when it has left the table, as in two halves of a network that have
// lost each other. Once one is a contact, lookups of this node's own id and of
// one in each bucket fill the table, and the log says how many peers are known;
// see Joined. It fails with ErrClosed after Close.
func (s *Service) Join(ctx context.Context, peers ...peer.AddrInfo) error {
	answered := make(chan struct{}, 1)
	for _, p := range peers {
		if err := s.spawn(ctx, func(ctx context.Context) { s.keepKnown(ctx, p, answered) }); err != nil {
			return err
		}
	}
	return s.spawn(ctx, func(ctx context.Context) {
		for {
			select {
			case <-answered:
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
	})
}

// Joined is closed once a bootstrap peer has answered and the table has been
// filled: what is stored before may reach nobody, and what is looked up before may
// not be found. It is never closed without Join, nor where nobody answers.
func (s *Service) Joined() <-chan struct{} { return s.joined }

// spawn runs f until it returns, in a goroutine that Close waits for. Its context
// ends with ctx and with the service. After Close it fails with ErrClosed.
func (s *Service) spawn(ctx context.Context, f func(context.Context)) error {
	if !s.begin() {
		return proto.ErrClosed
	}
	go func() {
		defer s.tasks.Done()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		f(ctx)
	}()
	return nil
}

// keepKnown makes a peer a contact whenever it is none, and tells when it has
// become one, be it by another way, or waits for a place in its bucket; and again
// when it was lost meanwhile.
func (s *Service) keepKnown(ctx context.Context, p peer.AddrInfo, answered chan<- struct{}) {
	cfg := s.joining
	isContact := func() bool { _, is := s.routing.Contact(routing.IDFromPeer(p.ID)); return is }
	retry, told, wasContact := cfg.firstRetry, false, false
	for ctx.Err() == nil {
		is, pause := isContact(), spread(cfg.lookAgain)
		told = told && (is || !wasContact)
		var err error
		if !is {
			err = s.meet(ctx, p)
			is = isContact()
		}
		wasContact = is
		switch {
		case ctx.Err() != nil:
		case err != nil:
			told, pause = false, spread(retry)
			retry = min(2*retry, cfg.lastRetry)
			s.log.Warn("bootstrap peer not reached", "peer", p.ID, "again_in", pause.Round(time.Millisecond), "err", err)
		case !told:
			told, retry = true, cfg.firstRetry
			s.log.Info("connected to bootstrap peer", "peer", p.ID)
			select {
			case answered <- struct{}{}:
			default:
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// spread returns half to one and a half of a pause, so that many nodes do not come
// back at once.
func spread(pause time.Duration) time.Duration { return pause/2 + rand.N(pause) }

// meet connects to a peer, where there is no connection, and introduces us: it is
// a contact then, or waits for a place in its bucket.
func (s *Service) meet(ctx context.Context, p peer.AddrInfo) error {
	if sw, ok := s.host.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(p.ID) // the pace is ours: the swarm's own grows to minutes
	}
	ctx, cancel := context.WithTimeout(ctx, joinDial)
	defer cancel()
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
