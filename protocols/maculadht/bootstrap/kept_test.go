package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state"
	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// goodContact returns a contact that has just answered, at an address.
func goodContact(t *testing.T, addr string) routing.Contact {
	p := dhttest.PeerID(t)
	id := routing.IDFromPeer(p)
	return routing.Contact{ID: id, NodeID: id[:], Peer: p, Verified: true, Addrs: []ma.Multiaddr{ma.StringCast(addr)},
		LastSeen: time.Now(), Answered: time.Now()}
}

func newKeeper(s state.State) *keeper {
	return &keeper{state: s, self: routing.IDFromBytes([]byte("self"))}
}

func peersOf(all []kept) (ids []peer.ID) {
	for _, c := range all {
		ids = append(ids, c.info.ID)
	}
	return ids
}

// Only verified libp2p contacts that have answered us lately are kept.
func TestWhoIsKept(t *testing.T) {
	now := time.Now()
	tests := map[string]struct {
		change func(*routing.Contact)
		kept   bool
	}{
		"one that answered":            {func(*routing.Contact) {}, true},
		"one that only came":           {func(c *routing.Contact) { c.Answered = time.Time{} }, false},
		"one that answered long ago":   {func(c *routing.Contact) { c.Answered = now.Add(-2 * answeredLately) }, false},
		"one that nobody has verified": {func(c *routing.Contact) { c.Verified = false }, false},
		"one without an address":       {func(c *routing.Contact) { c.Addrs = nil }, false},
		"an Erlang node":               {func(c *routing.Contact) { c.Peer, c.Endpoint = "", "https://192.0.2.1:9443" }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := goodContact(t, "/ip4/127.0.0.1/udp/1/quic-v1")
			tt.change(&c)
			k := newKeeper(new(statetest.Memory))
			k.update([]routing.Contact{c}, now)
			require.Equal(t, tt.kept, len(k.all) == 1)
		})
	}
}

// Whoever has one network, or many ids in one bucket, has not all places.
func TestKeptAreSpread(t *testing.T) {
	now := time.Now()
	k := newKeeper(new(statetest.Memory))
	honest := make([]routing.Contact, 20)
	for i := range honest {
		honest[i] = goodContact(t, fmt.Sprintf("/ip4/8.8.%d.1/udp/1/quic-v1", i))
	}
	var crowd []routing.Contact
	for i := range 200 {
		crowd = append(crowd, goodContact(t, fmt.Sprintf("/ip4/1.2.3.%d/udp/1/quic-v1", i)))
		crowd = append(crowd, goodContact(t, "/dns4/node.example.org/udp/1/quic-v1"))
	}
	k.update(append(crowd, honest...), now)
	for _, c := range honest {
		require.Contains(t, peersOf(k.all), c.Peer)
	}
	require.Len(t, k.all, len(honest)+2*keptPerGroup)

	var many []routing.Contact
	inBucket := make(map[int]int)
	for i := range 4 * maxKept {
		c := goodContact(t, fmt.Sprintf("/ip4/10.0.%d.1/udp/1/quic-v1", i%256))
		inBucket[k.self.CommonPrefixLen(c.ID)]++
		many = append(many, c)
	}
	k = newKeeper(new(statetest.Memory))
	k.update(many, now)
	require.Len(t, k.all, maxKept)
	keptIn := make(map[int]int)
	for _, c := range k.all {
		keptIn[k.self.CommonPrefixLen(routing.IDFromPeer(c.info.ID))]++
	}
	for bucket, n := range inBucket {
		require.GreaterOrEqual(t, keptIn[bucket], min(n, maxKept/len(inBucket)), "bucket %d", bucket)
	}

	chosen := peersOf(k.all)
	slices.Reverse(many)
	k.update(many, now.Add(time.Minute))
	require.ElementsMatch(t, chosen, peersOf(k.all), "those that are known for longest stay")
}

// It is written when others are to be kept, and else seldom.
func TestKeptWithFewWrites(t *testing.T) {
	var s statetest.Memory
	k, now := newKeeper(&s), time.Now()
	contacts := []routing.Contact{goodContact(t, "/ip4/127.0.0.1/udp/1/quic-v1")}
	keep := func(after time.Duration, writes int) {
		t.Helper()
		now = now.Add(after)
		for i := range contacts {
			contacts[i].Answered = now
		}
		k.update(contacts, now)
		require.NoError(t, k.write(t.Context(), now))
		require.Equal(t, writes, s.Writes())
	}
	keep(0, 1)
	for range 9 {
		keep(time.Minute, 1)
	}
	keep(time.Minute, 2)
	contacts = append(contacts, goodContact(t, "/ip4/127.0.0.1/udp/2/quic-v1"))
	keep(time.Minute, 3)
	contacts[0].Addrs = []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/3/quic-v1")}
	keep(time.Minute, 4)
	want := k.all
	contacts = nil
	keep(time.Minute, 4)
	require.ElementsMatch(t, peersOf(want), peersOf(k.all), "who has gone is kept as long as there is room")

	again := newKeeper(&s)
	require.NoError(t, again.load(t.Context()))
	require.Len(t, again.all, 2)
	for _, c := range again.all {
		was := want[slices.IndexFunc(want, func(w kept) bool { return w.info.ID == c.info.ID })]
		require.Equal(t, was.info, c.info)
		require.Equal(t, was.since.Unix(), c.since.Unix())
		require.Equal(t, now.Add(-time.Minute).Unix(), c.answered.Unix())
	}
}

func TestKeptThatCanNotBeRead(t *testing.T) {
	for name, value := range map[string][]byte{"nothing": nil, "nonsense": []byte("\xC1"), "no list": {0x01}} {
		t.Run(name, func(t *testing.T) {
			var s statetest.Memory
			require.NoError(t, s.Put(t.Context(), keptKey, value))
			k := newKeeper(&s)
			require.ErrorContains(t, k.load(t.Context()), "contacts/kept")
			require.Empty(t, k.all)
		})
	}
	t.Run("a state that fails", func(t *testing.T) {
		var s statetest.Memory
		s.FailWith(func(string, []byte) error { return errors.New("disk broken") })
		require.ErrorContains(t, newKeeper(&s).load(t.Context()), "disk broken")
	})
}

// newJoiner returns the joiner of a host, which answers in a test's stead: those in
// another realm with that, all others as peers do.
func newJoiner(t *testing.T, h host.Host, s state.State, otherRealm ...peer.ID) *Joiner {
	t.Helper()
	srv, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	j := New(Config{
		Host: h, Contacts: srv, State: s, Log: slog.New(slog.DiscardHandler),
		Retries: Retries{First: 10 * time.Millisecond, Last: 50 * time.Millisecond, LookAgain: time.Second},
		Connect: func(ctx context.Context, p peer.AddrInfo) error {
			h.Peerstore().ClearAddrs(p.ID)
			ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			defer cancel()
			return h.Connect(ctx, p)
		},
		Introduce: func(conn network.Conn) error {
			p := conn.RemotePeer()
			if slices.Contains(otherRealm, p) {
				return fmt.Errorf("it is elsewhere: %w", proto.ErrRealmMismatch)
			}
			id := routing.IDFromPeer(p)
			return srv.Admit(routing.Contact{ID: id, NodeID: id[:], Peer: p, Verified: true,
				Addrs: []ma.Multiaddr{conn.RemoteMultiaddr()}, LastSeen: time.Now(), Answered: time.Now()})
		},
		Fill:   func(context.Context) error { return nil },
		Filled: func(int) {},
	})
	t.Cleanup(j.Close)
	return j
}

func waitJoined(t *testing.T, j *Joiner) {
	t.Helper()
	select {
	case <-j.Joined():
	case <-time.After(dhttest.Patience):
		require.Fail(t, "not joined")
	}
}

// keptIn returns who is kept in a state.
func keptIn(t *testing.T, s state.State) []peer.ID {
	t.Helper()
	k := newKeeper(state.Under(s, "contacts"))
	require.NoError(t, k.load(t.Context()))
	return peersOf(k.all)
}

// Who has no bootstrap peer comes back through those that it knew. Those that have gone
// are forgotten after some starts in which others answered, and one of another realm at
// once.
func TestBackThroughKeptContacts(t *testing.T) {
	var s statetest.Memory
	alive, dead, elsewhere := dhttest.Host(t), dhttest.Host(t), dhttest.Host(t)
	j := newJoiner(t, dhttest.Host(t), &s)
	require.NoError(t, j.Add(peer.AddrInfo{ID: alive.ID(), Addrs: alive.Addrs()}, peer.AddrInfo{ID: dead.ID(), Addrs: dead.Addrs()},
		peer.AddrInfo{ID: elsewhere.ID(), Addrs: elsewhere.Addrs()}))
	require.Eventually(t, func() bool { return len(j.cfg.Contacts.Contacts()) == 3 }, dhttest.Patience, time.Millisecond)
	j.Close()
	require.ElementsMatch(t, []peer.ID{alive.ID(), dead.ID(), elsewhere.ID()}, keptIn(t, &s), "kept by Close")
	require.NoError(t, dead.Close())

	for start := range maxMissed {
		require.Contains(t, keptIn(t, &s), dead.ID(), "start %d", start)
		j := newJoiner(t, dhttest.Host(t), &s, elsewhere.ID())
		require.NoError(t, j.Add())
		waitJoined(t, j)
		require.Empty(t, j.Peers(), "they are no bootstrap peers")
		select {
		case <-j.back:
		case <-time.After(dhttest.Patience):
			require.Fail(t, "still trying")
		}
		j.Close()
		require.Contains(t, keptIn(t, &s), alive.ID())
		require.NotContains(t, keptIn(t, &s), elsewhere.ID())
	}
	require.Equal(t, []peer.ID{alive.ID()}, keptIn(t, &s))
}

// Where nobody answers nobody is blamed, and all are tried again until one does.
func TestBackOnceTheNetworkIs(t *testing.T) {
	var s statetest.Memory
	identity, gone := dhttest.Host(t), dhttest.Host(t)
	k := newKeeper(state.Under(&s, "contacts"))
	other := dhttest.Contact(gone)
	other.Answered = time.Now()
	k.update([]routing.Contact{other}, time.Now())
	require.NoError(t, k.write(t.Context(), time.Now()))
	for range 2 * maxMissed {
		j := newJoiner(t, identity, &s)
		tried := make(chan struct{}, 100)
		j.cfg.Connect = func(context.Context, peer.AddrInfo) error {
			tried <- struct{}{}
			return errors.New("no network")
		}
		require.NoError(t, j.Add())
		for range 2 { // so that the first round is over
			select {
			case <-tried:
			case <-time.After(dhttest.Patience):
				require.Fail(t, "it is not tried")
			}
		}
		j.Close()
	}
	require.Equal(t, []peer.ID{gone.ID()}, keptIn(t, &s))

	j := newJoiner(t, identity, &s)
	connect, tries := j.cfg.Connect, 0
	j.cfg.Connect = func(ctx context.Context, p peer.AddrInfo) error {
		if tries++; tries < 4 {
			return errors.New("no network")
		}
		return connect(ctx, p)
	}
	require.NoError(t, j.Add())
	waitJoined(t, j)
}
