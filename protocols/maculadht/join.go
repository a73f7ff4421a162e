package maculadht

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/macula-mesh/macula-node/protocols/maculadht/bootstrap"
)

// How a bootstrap peer is treated, unless an option says otherwise; see package
// bootstrap.
const (
	DefaultFirstRetry = bootstrap.DefaultFirstRetry
	DefaultLastRetry  = bootstrap.DefaultLastRetry
	DefaultLookAgain  = bootstrap.DefaultLookAgain
)

type (
	// BootstrapState is how far this node is with a bootstrap peer.
	BootstrapState = bootstrap.State
	// BootstrapStatus is a bootstrap peer and how far this node is with it; see
	// [bootstrap.Status].
	BootstrapStatus = bootstrap.Status
)

// The states of a bootstrap peer.
const (
	BootstrapTrying     = bootstrap.Trying
	BootstrapJoined     = bootstrap.Joined
	BootstrapOtherRealm = bootstrap.OtherRealm
)

// WithRetries sets after how long a bootstrap peer that did not answer is tried
// again the first time, what the pause grows to, and how often it is seen to that
// one that did is still in the table. Each pause is half to one and a half of
// that. One that serves another realm is tried at ten times the longest pause.
func WithRetries(first, last, lookAgain time.Duration) Option {
	return func(c *serviceConfig) error {
		c.retries = bootstrap.Retries{First: first, Last: last, LookAgain: lookAgain}
		return c.retries.Check()
	}
}

// Join brings this node into the network of some bootstrap peers, and keeps it
// there until the service is closed, or Unjoin. It returns at once, and ctx bounds
// no more than that.
//
// Each peer is tried, with a growing pause, until it answers, be it much later;
// and again when it has left the table, as in two halves of a network that have
// lost each other. Once one is a contact over libp2p, lookups of this node's own id
// and of one in each bucket fill the table, and the log says how many peers are
// known; see Joined and Bootstrap.
//
// With a state (WithState) the service also joins through the contacts that it has kept
// there, at the first Join, be it of nobody: the best of those that answered it, which
// it keeps there while it runs. Those that do not answer are told of nowhere, and are
// forgotten after some starts. This node itself is passed over. A peer without an
// id is an ErrInvalidRequest, and after Close the error is ErrClosed.
func (s *Service) Join(ctx context.Context, peers ...peer.AddrInfo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.joiner.Add(peers...)
}

// Unjoin ends what Join does for a bootstrap peer: it is not tried any more. Where
// it is a contact it stays one, as any other. It reports whether there was such a
// peer.
func (s *Service) Unjoin(id peer.ID) bool { return s.joiner.Remove(id) }

// Bootstrap returns how far this node is with each of its bootstrap peers, in the
// order in which Join was given them.
func (s *Service) Bootstrap() []BootstrapStatus { return s.joiner.Peers() }

// Joined is closed once a bootstrap peer, or a contact that was kept in a state, has
// answered and the table has been filled: what is stored before may reach nobody, and what is looked up before may
// not be found. It is never closed without Join, nor where nobody answers.
func (s *Service) Joined() <-chan struct{} { return s.joiner.Joined() }

// noteJoined tells that the table was filled.
func (s *Service) noteJoined(peers int) {
	s.log.Info("joined the network", "realm", s.handlers.Realm(), "as", s.Mode(), "peers", peers)
	s.tracer.Joined(peers)
}
