package router

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	corerouting "github.com/libp2p/go-libp2p/core/routing"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
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

// seeker returns the router of a host that is connected to another one, which asks
// find where peers are, and whom it sought.
func seeker(t *testing.T, find func(context.Context, peer.ID) (peer.AddrInfo, error)) (*Router, chan peer.ID) {
	r := peerRouting{make(chan peer.ID, 100), find}
	h := dhttest.Host(t)
	srv, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	c, err := client.New(h)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	to := New(Config{Host: h, Client: c, Contacts: srv, PeerRouting: r, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(to.Close)
	dhttest.Connect(t, h, dhttest.Host(t))
	return to, r.sought
}

func pingOf(r *Router, c routing.Contact) error {
	ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
	defer cancel()
	_, err := r.Query(ctx, c, &wire.Ping{})
	return err
}

// Where a contact of ours is that has no address is asked of others. Nobody has us
// seek whom we do not know.
func TestOnlyContactsAreSought(t *testing.T) {
	there := dhttest.Host(t)
	dhttest.Script(t, there, func(_ int, s *dhttest.Scripted) { s.Answer() })
	r, sought := seeker(t, func(context.Context, peer.ID) (peer.AddrInfo, error) {
		return peer.AddrInfo{ID: there.ID(), Addrs: there.Addrs()}, nil
	})
	require.ErrorIs(t, pingOf(r, bare(t)), proto.ErrUnreachable)
	require.Empty(t, sought, "a stranger")

	c := dhttest.Contact(there)
	c.Addrs = nil
	require.NoError(t, r.cfg.Contacts.Admit(c))
	require.NoError(t, pingOf(r, c))
	require.Equal(t, there.ID(), <-sought)
}

// Who connects by itself while it is sought is asked, be it that nobody knows its address.
func TestWhoConnectsMeanwhileIsAsked(t *testing.T) {
	for name, err := range map[string]error{"the host knows it by then": nil, "nobody knows it": corerouting.ErrNotFound} {
		t.Run(name, func(t *testing.T) {
			there := dhttest.Host(t)
			dhttest.Script(t, there, func(_ int, s *dhttest.Scripted) { s.Answer() })
			var r *Router
			r, _ = seeker(t, func(_ context.Context, p peer.ID) (peer.AddrInfo, error) {
				dhttest.Connect(t, there, r.cfg.Host)
				return peer.AddrInfo{ID: p}, err
			})
			c := dhttest.Contact(there)
			c.Addrs = nil
			require.NoError(t, r.cfg.Contacts.Admit(c))
			require.NoError(t, pingOf(r, c))
		})
	}
}

// Who was connected when he was sought, and is not any more, is sought once more: that he
// was connected is no address.
func TestWhoEndsHisConnectionIsSoughtAgain(t *testing.T) {
	there := dhttest.Host(t)
	dhttest.Script(t, there, func(_ int, s *dhttest.Scripted) { s.Answer() })
	asked := 0
	r, _ := seeker(t, func(_ context.Context, p peer.ID) (peer.AddrInfo, error) {
		if asked++; asked == 1 {
			return peer.AddrInfo{ID: p}, nil
		}
		return peer.AddrInfo{ID: p, Addrs: there.Addrs()}, nil
	})
	c := dhttest.Contact(there)
	c.Addrs = nil
	require.NoError(t, r.cfg.Contacts.Admit(c))
	require.NoError(t, pingOf(r, c))
	require.Equal(t, 2, asked)
}

// Addresses that the search has met are used, be it that it did not reach the peer there.
func TestAddressesMetWhileSeekingAreUsed(t *testing.T) {
	there := dhttest.Host(t)
	dhttest.Script(t, there, func(_ int, s *dhttest.Scripted) { s.Answer() })
	var r *Router
	r, _ = seeker(t, func(_ context.Context, p peer.ID) (peer.AddrInfo, error) {
		r.cfg.Host.Peerstore().AddAddrs(p, there.Addrs(), time.Minute)
		return peer.AddrInfo{}, corerouting.ErrNotFound
	})
	c := dhttest.Contact(there)
	c.Addrs = nil
	require.NoError(t, r.cfg.Contacts.Admit(c))
	found, err := r.finder.find(t.Context(), c.Peer)
	require.NoError(t, err)
	require.Equal(t, there.Addrs(), found)
	require.NoError(t, pingOf(r, c))
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
			r, sought := seeker(t, tt.find)
			if tt.public {
				r.finder.host = &publicHost{r.cfg.Host}
			}
			if tt.alone {
				for _, p := range r.cfg.Host.Network().Peers() {
					require.NoError(t, r.cfg.Host.Network().ClosePeer(p))
				}
			}
			c := bare(t)
			require.NoError(t, r.cfg.Contacts.Admit(c))
			err := pingOf(r, c)
			require.Error(t, err)
			<-sought
			require.Equal(t, tt.atFault, lookup.AtFault(err), err)
			r.finder.mu.Lock()
			until := time.Until(r.finder.known[c.Peer].until)
			r.finder.mu.Unlock()
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
	r, sought := seeker(t, func(ctx context.Context, _ peer.ID) (peer.AddrInfo, error) {
		<-ctx.Done()
		return peer.AddrInfo{}, ctx.Err()
	})
	for range findAtOnce {
		c := bare(t)
		require.NoError(t, r.cfg.Contacts.Admit(c))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Query(ctx, c, &wire.Ping{})
		require.Error(t, err)
		require.Equal(t, c.Peer, <-sought)
	}
	c := bare(t)
	require.NoError(t, r.cfg.Contacts.Admit(c))
	err := pingOf(r, c)
	require.Error(t, err)
	require.False(t, lookup.AtFault(err), err)
}

type publicHost struct{ host.Host }

func (publicHost) Addrs() []ma.Multiaddr {
	return []ma.Multiaddr{ma.StringCast("/ip4/8.8.8.8/udp/1/quic-v1")}
}
