package maculadht

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	corerouting "github.com/libp2p/go-libp2p/core/routing"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// peerRouting finds peers as a test says, and notes whom it was asked for.
type peerRouting struct {
	sought chan peer.ID
	find   func(context.Context, peer.ID) (peer.AddrInfo, error)
}

func (r peerRouting) FindPeer(ctx context.Context, p peer.ID) (peer.AddrInfo, error) {
	r.sought <- p
	return r.find(ctx, p)
}

// bare returns a contact of which no address is known.
func bare(t *testing.T) routing.Contact {
	p := dhttest.PeerID(t)
	id := routing.IDFromPeer(p)
	return routing.Contact{ID: id, NodeID: id[:], Peer: p, Verified: true, LastSeen: time.Now()}
}

// seeker returns a service that is connected to another one, and asks r where peers are.
func seeker(t *testing.T, find func(context.Context, peer.ID) (peer.AddrInfo, error)) (*Service, chan peer.ID) {
	r := peerRouting{make(chan peer.ID, 100), find}
	s := newService(t, dhttest.Host(t), WithPeerRouting(r))
	dhttest.Connect(t, s.host, dhttest.Host(t))
	return s, r.sought
}

func pingOf(s *Service, c routing.Contact) error {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	_, err := s.network.Query(ctx, c, &wire.Ping{})
	return err
}

// Where a contact of ours is that has no address is asked of others. Nobody has us
// seek whom we do not know.
func TestOnlyContactsAreSought(t *testing.T) {
	there := dhttest.Host(t)
	newService(t, there)
	s, sought := seeker(t, func(context.Context, peer.ID) (peer.AddrInfo, error) {
		return peer.AddrInfo{ID: there.ID(), Addrs: there.Addrs()}, nil
	})
	require.ErrorIs(t, pingOf(s, bare(t)), proto.ErrUnreachable)
	require.Empty(t, sought, "a stranger")

	c := dhttest.Contact(there)
	c.Addrs = nil
	require.NoError(t, s.Routing().Admit(c))
	require.NoError(t, pingOf(s, c))
	require.Equal(t, there.ID(), <-sought)
}

// That nobody could be asked where a contact is speaks not against it, and is not
// remembered for long.
func TestWhyAContactIsNotFound(t *testing.T) {
	nothing := func(err error) func(context.Context, peer.ID) (peer.AddrInfo, error) {
		return func(context.Context, peer.ID) (peer.AddrInfo, error) { return peer.AddrInfo{}, err }
	}
	private := []ma.Multiaddr{ma.StringCast("/ip4/10.0.0.1/udp/1/quic-v1")}
	tests := map[string]struct {
		find    func(context.Context, peer.ID) (peer.AddrInfo, error)
		alone   bool
		public  bool
		atFault bool
	}{
		"nobody knows it":         {find: nothing(corerouting.ErrNotFound), atFault: true},
		"nobody is known":         {find: nothing(errors.New("failed to find any peer in table"))},
		"this node has no others": {find: nothing(corerouting.ErrNotFound), alone: true},
		"it is in another network": {find: func(_ context.Context, p peer.ID) (peer.AddrInfo, error) {
			return peer.AddrInfo{ID: p, Addrs: private}, nil
		}, public: true, atFault: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, sought := seeker(t, tt.find)
			if tt.public {
				s.finder.host = &publicHost{s.host}
			}
			if tt.alone {
				for _, p := range s.host.Network().Peers() {
					require.NoError(t, s.host.Network().ClosePeer(p))
				}
			}
			c := bare(t)
			require.NoError(t, s.Routing().Admit(c))
			err := pingOf(s, c)
			require.Error(t, err)
			<-sought
			require.Equal(t, tt.atFault, lookup.AtFault(err), err)
			s.finder.mu.Lock()
			until := time.Until(s.finder.known[c.Peer].until)
			s.finder.mu.Unlock()
			if tt.atFault {
				require.Greater(t, until, failedFor)
			} else {
				require.LessOrEqual(t, until, failedFor)
			}
		})
	}
}

// Whom there is no time to seek is not to blame.
func TestNoMoreAreSoughtAtOnce(t *testing.T) {
	s, sought := seeker(t, func(ctx context.Context, _ peer.ID) (peer.AddrInfo, error) {
		<-ctx.Done()
		return peer.AddrInfo{}, ctx.Err()
	})
	for range findAtOnce {
		c := bare(t)
		require.NoError(t, s.Routing().Admit(c))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.network.Query(ctx, c, &wire.Ping{})
		require.Error(t, err)
		require.Equal(t, c.Peer, <-sought)
	}
	c := bare(t)
	require.NoError(t, s.Routing().Admit(c))
	err := pingOf(s, c)
	require.Error(t, err)
	require.False(t, lookup.AtFault(err), err)
}

type publicHost struct{ host.Host }

func (publicHost) Addrs() []ma.Multiaddr {
	return []ma.Multiaddr{ma.StringCast("/ip4/8.8.8.8/udp/1/quic-v1")}
}
