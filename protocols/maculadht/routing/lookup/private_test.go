package lookup

import (
	"slices"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

// A public peer does not get us to dial into our own network.
func TestPrivateAddressesOfPublicPeers(t *testing.T) {
	public, private, loopback := ma.StringCast("/ip4/8.8.8.8/udp/1/quic-v1"), ma.StringCast("/ip4/10.0.0.1/udp/1/quic-v1"), ma.StringCast("/ip4/127.0.0.1/udp/1/quic-v1")
	for name, tt := range map[string]struct {
		teller ma.Multiaddr
		want   []ma.Multiaddr
	}{
		"told by a public peer":           {public, []ma.Multiaddr{public}},
		"told by one that hides where":    {nil, []ma.Multiaddr{public}},
		"told by one in our own network":  {private, []ma.Multiaddr{public, private, loopback}},
		"told by one on our own computer": {loopback, []ma.Multiaddr{public, private, loopback}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 2, func(t *testing.T, s *script) {
				teller, told := s.Peers[1], s.Peers[0]
				if tt.teller != nil {
					teller.Addrs = []ma.Multiaddr{tt.teller}
				}
				told.Addrs = []ma.Multiaddr{public, private, loopback}
				s.Know(teller)
				s.Replies[teller.ID] = names(told)
				var dialled []ma.Multiaddr
				found, err := lookups(s, WithObserver(func(h Hop) {
					if h.Contact.ID == told.ID {
						dialled = h.Contact.Addrs
					}
				})).Nodes(t.Context(), s.Target[:])
				require.NoError(t, err)
				require.Len(t, found.Closest, 2)
				require.ElementsMatch(t, tt.want, dialled)
			})
		})
	}
}

// Who is named with private addresses alone by a public peer is asked only if it is
// known already.
func TestPrivateAddressesAlone(t *testing.T) {
	for name, known := range map[string]bool{"a stranger": false, "a contact of ours": true} {
		t.Run(name, func(t *testing.T) {
			play(t, 2, func(t *testing.T, s *script) {
				teller, told := s.Peers[1], s.Peers[0]
				teller.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/8.8.8.8/udp/1/quic-v1")}
				s.Know(teller)
				if known {
					s.Know(told)
				}
				told.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/10.0.0.1/udp/1/quic-v1")}
				s.Replies[teller.ID] = names(told)
				_, err := lookups(s).Nodes(t.Context(), s.Target[:])
				require.NoError(t, err)
				require.Equal(t, known, slices.Contains(s.Asked, told.ID))
			})
		})
	}
}
