package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
)

// The nearest of the libp2p contacts, and in places that they leave free of the
// Erlang ones, against a sort.
func TestFindNodeEqualsBruteForce(t *testing.T) {
	rng := newRand(6)
	for range 150 {
		s := newServer(t)
		var peers, erlang []ID
		for range rng.IntN(60) {
			if c := libp2pContact(randomID(rng), "p"); s.Admit(c) == nil {
				peers = append(peers, c.ID)
			}
		}
		for i := range rng.IntN(60) {
			_ = s.Admit(erlangContact(randomID(rng), fmt.Sprintf("https://10.0.0.%d:9443", i)))
		}
		for _, c := range s.Contacts() {
			if c.IsErlang() {
				erlang = append(erlang, c.ID)
			}
		}
		for range 10 {
			target := randomID(rng)
			want := bruteForce(peers, target, BucketSize)
			want = append(want, bruteForce(erlang, target, min(MaxErlang, BucketSize-len(want)))...)
			require.Equal(t, bruteForce(want, target, BucketSize), ids(s.FindNode(target[:])))
		}
	}
}

// Erlang contacts under ids as near as they like take no peer's place.
func TestErlangContactsTakeNobodysPlace(t *testing.T) {
	s := newServer(t, WithBucketSize(1000))
	for i := range 400 {
		require.NoError(t, s.Admit(erlangContact(ID{1, byte(i >> 8), byte(i)}, fmt.Sprintf("https://10.0.%d.%d:1", i>>8, i&255))))
	}
	count := func(contacts []Contact) (peers, erlang int) {
		for _, c := range contacts {
			if c.IsErlang() {
				erlang++
			} else {
				peers++
			}
		}
		return peers, erlang
	}
	for i, want := range []struct{ before, peers, erlang int }{{0, 0, 4}, {1, 1, 4}, {16, 16, 4}, {18, 18, 2}, {20, 20, 0}, {30, 20, 0}} {
		for n := s.Table().Len() - 400; n < want.before; n++ {
			require.NoError(t, s.Admit(libp2pContact(ID{0x80, byte(n)}, peer.ID(fmt.Sprint("p", n)))))
		}
		peers, erlang := count(s.FindNode(ID{1}.bytes()))
		require.Equal(t, []int{want.peers, want.erlang}, []int{peers, erlang}, i)
	}
}

func (id ID) bytes() []byte { return id[:] }

func TestFindNodeLeavesOut(t *testing.T) {
	gateway := func(id ID, p peer.ID) Contact {
		c := libp2pContact(id, p)
		c.Endpoint, c.EndpointSeen = "https://192.0.2.7:9443", true
		c.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.7/udp/9443/quic-v1")}
		return c
	}
	doubted := func(s *Server, id ID) { s.Table().Doubt(id, time.Now()) }
	failed := func(s *Server, id ID) { s.Table().Failed(id, time.Now()) }
	for name, test := range map[string]struct {
		contact        Contact
		then           func(*Server, ID)
		asker          ID
		peers, gateway bool // whether it is named to a libp2p peer, and to an Erlang node
	}{
		"a peer":                       {libp2pContact(ID{1}, "p"), nil, ID{}, true, false},
		"a peer with an endpoint":      {gateway(ID{1}, "p"), nil, ID{}, true, true},
		"an Erlang node":               {erlangContact(ID{1}, "https://192.0.2.7:9443"), nil, ID{}, true, false},
		"a peer that failed":           {gateway(ID{1}, "p"), failed, ID{}, false, false},
		"a peer in doubt":              {gateway(ID{1}, "p"), doubted, ID{}, false, false},
		"an Erlang node that failed":   {erlangContact(ID{1}, "https://192.0.2.7:9443"), failed, ID{}, false, false},
		"the one that asks":            {gateway(ID{1}, "p"), nil, ID{1}, false, false},
		"another than the one":         {gateway(ID{1}, "p"), nil, ID{2}, true, true},
		"one that is not verified yet": {Contact{ID: ID{1}, NodeID: ID{1}.bytes(), Peer: "p"}, nil, ID{}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			require.NoError(t, s.Table().Add(test.contact))
			if test.then != nil {
				test.then(s, test.contact.ID)
			}
			require.Equal(t, test.peers, len(s.FindNode([]byte("k"), test.asker)) == 1)
			require.Equal(t, test.gateway, len(s.FindGateways([]byte("k"), test.asker)) == 1)
			s.Table().Alive(test.contact.ID, test.contact.LastSeen)
			if test.then != nil {
				require.Len(t, s.FindNode([]byte("k")), 1, "confirmed again")
			}
		})
	}
}

// What a peer says that its endpoint is, is its own only where it is seen and
// listens on the same address.
func TestIsGateway(t *testing.T) {
	seen := libp2pContact(ID{1}, "p")
	seen.EndpointSeen = true
	for name, test := range map[string]struct {
		endpoint string
		addrs    []string
		want     bool
	}{
		"its listen address":                {"https://192.0.2.7:9443", []string{"/ip4/192.0.2.7/udp/9443/quic-v1"}, true},
		"one of several":                    {"https://192.0.2.7:9443", []string{"/ip4/10.0.0.7/udp/9443/quic-v1", "/ip4/192.0.2.7/udp/9443/quic-v1"}, true},
		"an IPv6 one":                       {"https://[2001:db8::7]:9443", []string{"/ip6/2001:db8::7/udp/9443/quic-v1"}, true},
		"another port":                      {"https://192.0.2.7:53", []string{"/ip4/192.0.2.7/udp/9443/quic-v1"}, false},
		"another address":                   {"https://192.0.2.8:9443", []string{"/ip4/192.0.2.7/udp/9443/quic-v1"}, false},
		"the port of another transport":     {"https://192.0.2.7:9443", []string{"/ip4/192.0.2.7/tcp/9443"}, false},
		"a relay's":                         {"https://192.0.2.7:9443", []string{"/ip4/192.0.2.7/udp/9443/quic-v1/p2p/12D3KooWEo5rQffcrWDKWi9Ba8DoePrMiY6gPHuPheqFFFB9eB5d/p2p-circuit"}, false},
		"a name":                            {"https://node.example.org:9443", []string{"/dns4/node.example.org/udp/9443/quic-v1"}, false},
		"none":                              {"", []string{"/ip4/192.0.2.7/udp/9443/quic-v1"}, false},
		"one of a peer that tells no addrs": {"https://192.0.2.7:9443", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := seen
			c.Endpoint = test.endpoint
			for _, a := range test.addrs {
				c.Addrs = append(c.Addrs, ma.StringCast(a))
			}
			require.Equal(t, test.want, c.IsGateway())
			if test.want {
				e, err := endpoints.Parse(test.endpoint)
				require.NoError(t, err)
				ip, _ := e.Addr()
				c.SeenAt = netip.AddrPortFrom(ip, e.Port)
				require.True(t, c.IsGateway())
				c.SeenAt = netip.AddrPortFrom(ip, e.Port+1)
				require.False(t, c.IsGateway(), "another socket is not its own")
				c.SeenAt = netip.AddrPort{}
			}
			c.EndpointSeen = false
			require.False(t, c.IsGateway())
		})
	}
}

func TestFindNodeHashesTheTarget(t *testing.T) {
	s := newServer(t)
	id := IDFromBytes([]byte("hex text"))
	far := id
	far[0] ^= 0xff
	require.NoError(t, s.Admit(libp2pContact(far, "far")))
	require.NoError(t, s.Admit(libp2pContact(id, "near")))
	require.Equal(t, []ID{id, far}, ids(s.FindNode([]byte("hex text"))))
	require.False(t, slices.Contains(ids(s.FindNode([]byte("hex text"), far)), far))
}
