package admission

import (
	ma "github.com/multiformats/go-multiaddr"

	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

func TestLearntEndpoint(t *testing.T) {
	const (
		public   = "/ip4/8.8.8.8/udp/9443/quic-v1"
		private  = "/ip4/10.0.0.1/udp/9443/quic-v1"
		loopback = "/ip4/127.0.0.1/udp/9443/quic-v1"
	)
	for name, test := range map[string]struct {
		endpoint, seenAt string
		kept             bool
	}{
		"public from public":             {"https://1.1.1.1:9443", public, true},
		"private from public":            {"https://10.0.0.2:9443", public, false},
		"loopback from public":           {"https://127.0.0.1:9443", public, false},
		"mapped loopback from public":    {"https://[::ffff:127.0.0.1]:9443", public, false},
		"IPv6 loopback from private":     {"https://[::1]:9443", private, false},
		"private from private":           {"https://10.0.0.2:9443", private, true},
		"loopback from private":          {"https://127.0.0.1:9443", private, false},
		"loopback from loopback":         {"https://127.0.0.1:9443", loopback, true},
		"private through a public relay": {"https://10.0.0.2:9443", public + "/p2p-circuit", false},
		"a name":                         {"https://node.example.org:9443", public, true},
		"this machine's name":            {"https://localhost:9443", private, false},
		"this machine's name, from here": {"https://localhost:9443", loopback, true},
		"none":                           {"", public, true},
		"nonsense":                       {"://", public, false},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if test.kept {
				want = test.endpoint
			}
			require.Equal(t, want, learntEndpoint(test.endpoint, ma.StringCast(test.seenAt)))
		})
	}
}

func TestIsAt(t *testing.T) {
	tests := map[string]struct {
		endpoint, seenAt string
		want             bool
	}{
		"its own address":              {"https://192.0.2.7:9443", "/ip4/192.0.2.7/udp/1/quic-v1", true},
		"written as IPv6":              {"https://[::ffff:192.0.2.7]:9443", "/ip4/192.0.2.7/udp/1/quic-v1", true},
		"an IPv6 one":                  {"https://[2001:db8::7]:9443", "/ip6/2001:db8::7/udp/1/quic-v1", true},
		"another address":              {"https://192.0.2.8:9443", "/ip4/192.0.2.7/udp/1/quic-v1", false},
		"a name, which may be another": {"https://node.example.org:9443", "/ip4/192.0.2.7/udp/1/quic-v1", false},
		"through a relay":              {"https://192.0.2.7:9443", "/ip4/192.0.2.7/udp/1/quic-v1/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit", false},
		"nothing":                      {"", "/ip4/192.0.2.7/udp/1/quic-v1", false},
		"nonsense":                     {"https://[", "/ip4/192.0.2.7/udp/1/quic-v1", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, isAt(test.endpoint, ma.StringCast(test.seenAt)))
		})
	}
}

// turning is a host that lists its addresses in another order each time.
type turning struct {
	host.Host
	times atomic.Int64
}

func (h *turning) Addrs() []ma.Multiaddr {
	addrs := []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/1/quic-v1"), ma.StringCast("/ip4/127.0.0.1/udp/2/quic-v1")}
	if h.times.Add(1)%2 == 0 {
		slices.Reverse(addrs)
	}
	return addrs
}

// The order of our addresses is no news to anybody.
func TestWhereWeAreHasNoOrder(t *testing.T) {
	a := newAdmission(t, &turning{Host: dhttest.Host(t)})
	require.Equal(t, a.whereWeAre(), a.whereWeAre())
}

// A PONG that is taken while identify tells other addresses does not bring back those
// of before.
func TestAdmittedWhileIdentifyTells(t *testing.T) {
	ours, theirs := dhttest.Host(t), dhttest.Host(t)
	dhttest.Script(t, theirs, func(_ int, s *dhttest.Scripted) {
		for m := s.Next(); m != nil; m = s.Next() {
			s.Reply(&wire.Pong{NodeID: dhttest.NodeID(theirs), RealmID: proto.DefaultRealm})
		}
	})
	a := newAdmission(t, ours)
	dhttest.Connect(t, ours, theirs)
	id := routing.IDFromPeer(theirs.ID())
	require.Eventually(t, func() bool { _, ok := a.routing.Contact(id); return ok }, dhttest.Patience, time.Millisecond, "admitted")
	conn := ours.Network().ConnsToPeer(theirs.ID())[0]
	for i := range 300 {
		now := ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", i+1))
		var both sync.WaitGroup
		both.Go(func() { a.enter(*a.contactOf(conn, id[:], "", nil), conn) })
		both.Go(func() {
			a.onIdentified(event.EvtPeerIdentificationCompleted{Peer: theirs.ID(), Conn: conn, ListenAddrs: []ma.Multiaddr{now}})
		})
		both.Wait()
		c, ok := a.routing.Contact(id)
		require.True(t, ok)
		require.Contains(t, c.Addrs, now, "round %d", i)
	}
}
