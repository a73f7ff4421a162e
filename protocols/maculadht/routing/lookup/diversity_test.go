package lookup

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

func at(c routing.Contact, ip string) routing.Contact {
	c.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/" + ip + "/udp/1/quic-v1")}
	return c
}

// Twenty identities of one machine are nearer than all others: two of them count, and
// the others are not even asked.
func TestCrowdIsNotAsked(t *testing.T) {
	play(t, 40, func(t *testing.T, s *script) {
		for i, c := range s.Peers {
			if i < 20 {
				s.Know(at(c, "8.8.8.8"))
			} else {
				s.Know(at(c, fmt.Sprintf("9.9.%d.9", i)))
			}
		}
		found, err := lookups(s).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		want := append(ids(s.Peers[:diversity.DefaultPerList]), ids(s.Peers[20:38])...)
		require.Equal(t, want, ids(found.Closest))
		require.Len(t, s.Asked, routing.BucketSize)
	})
}

// Several who answer from one network and prove nothing are no more than its word: two
// networks that hold together do not keep a lookup from the holders that there are.
func TestQuorumOfNetworks(t *testing.T) {
	for name, test := range map[string]struct {
		network string // of the third and the fourth
		want    []string
	}{
		"of two":   {"7.7.7.%d", []string{"honest", "liar"}},
		"of three": {"7.7.%d.7", []string{"liar"}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 40, func(t *testing.T, s *script) {
				s.Other = after(2*routingtest.Delay, names())
				for i, c := range s.Peers {
					switch {
					case i < 2:
						s.Know(at(c, fmt.Sprintf("8.8.8.%d", i)))
					case i < 4:
						s.Know(at(c, fmt.Sprintf(test.network, i)))
					default:
						s.Know(at(c, fmt.Sprintf("9.9.%d.9", i)))
					}
					switch {
					case i < 4:
						s.Replies[c.ID] = after(routingtest.Delay, has(value("liar", 60)))
					case i > 10 && i < 15:
						s.Replies[c.ID] = after(routingtest.Delay, has(value("honest", 60)))
					}
				}
				found, err := lookups(s).Values(t.Context(), s.Target[:])
				require.NoError(t, err)
				require.ElementsMatch(t, test.want, providers(found.Values))
			})
		})
	}
}

// What counts is where a contact answers from, not what is said of it.
func TestCrowdThatClaimsOtherAddresses(t *testing.T) {
	play(t, 40, func(t *testing.T, s *script) {
		seen := map[peer.ID]netip.Addr{}
		for i, c := range s.Peers {
			c = at(c, fmt.Sprintf("9.9.%d.9", i))
			s.Know(c)
			seen[c.Peer] = addressing.IPOf(c.Addrs[0])
			if i < 20 {
				seen[c.Peer] = netip.MustParseAddr("8.8.8.8")
			}
		}
		delete(seen, s.Peers[0].Peer) // these have left as soon as they had answered
		delete(seen, s.Peers[1].Peer)
		delete(seen, s.Peers[2].Peer)
		s.Server.SetSeenIP(func(p peer.ID) netip.Addr { return seen[p] })
		found, err := lookups(s).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		want := append(ids(s.Peers[:2]), ids(s.Peers[3:5])...) // two that are gone, two of the machine
		want = append(want, ids(s.Peers[20:36])...)
		require.Equal(t, want, ids(found.Closest))
	})
}

// Nobody is kept from being asked by others that claim to be in its network.
func TestClaimsCrowdNobodyOut(t *testing.T) {
	play(t, 22, func(t *testing.T, s *script) {
		for i, c := range s.Peers {
			s.Know(at(c, "8.8.8.8"))
			if i < 20 {
				s.Replies[c.ID] = never
			}
		}
		found, err := lookups(s).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Equal(t, ids(s.Peers[20:]), ids(found.Closest))
	})
}

// A mesh that is all in one network works as any other: what is left of a crowd is used
// last, and values are found wherever they are.
func TestMeshInOneNetwork(t *testing.T) {
	play(t, 12, func(t *testing.T, s *script) {
		for i, c := range s.Peers {
			s.Know(at(c, fmt.Sprintf("8.8.8.%d", i)))
		}
		found, err := lookups(s).Nodes(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Equal(t, ids(s.Peers), ids(found.Closest), "nearest first")

		s.Replies[s.Peers[11].ID] = after(routingtest.Delay, has(value("a", 60)))
		found, err = lookups(s).Values(t.Context(), s.Target[:])
		require.NoError(t, err)
		require.Len(t, found.Values, 1)
		require.Less(t, time.Since(s.Start), time.Second, "nobody is waited for")
	})
}

// By default private networks and this machine are no group; an option makes them one.
func TestPrivateNetworksCrowdByOption(t *testing.T) {
	everywhere := diversity.Defaults()
	everywhere.Everywhere = true
	for name, tt := range map[string]struct {
		opts  []routing.Option
		asked int
	}{
		"by default":   {nil, 20},
		"by an option": {[]routing.Option{routing.WithDiversity(everywhere)}, 12},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 30, func(t *testing.T, s *script) {
				for i, c := range s.Peers {
					c = at(c, "127.0.0.1")
					if i >= 20 {
						c = at(c, fmt.Sprintf("10.9.%d.9", i))
					}
					s.Know(c)
				}
				_, err := lookups(s).Values(t.Context(), s.Target[:])
				require.Error(t, err)
				near := map[routing.ID]bool{}
				for _, c := range s.Peers[:20] {
					near[c.ID] = true
				}
				before := 0 // those of this machine that were asked before the last of the others
				for i, id := range s.Asked {
					if !near[id] {
						before = i + 1
					}
				}
				if tt.opts == nil {
					require.Zero(t, before)
				} else {
					require.Equal(t, tt.asked, before)
				}
			}, tt.opts...)
		})
	}
}
