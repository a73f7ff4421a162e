package peerhost

import (
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

func TestNoRelayCandidatesBeforeKad(t *testing.T) {
	early := &Host{hasKad: make(chan struct{})}
	_, more := <-early.RelayCandidates(t.Context(), 1)
	require.False(t, more, "nobody is known before kad-dht has started")
}

func TestAddressesThatKadKeeps(t *testing.T) {
	public, private := ma.StringCast("/ip4/8.8.8.8/udp/9443/quic-v1"), ma.StringCast("/ip4/10.0.0.1/udp/9443/quic-v1")
	told := []ma.Multiaddr{public, private}
	tests := map[string]struct {
		own, want []ma.Multiaddr
	}{
		"of a host at a public address":  {[]ma.Multiaddr{private, public}, []ma.Multiaddr{public}},
		"of a host in a private network": {[]ma.Multiaddr{private}, told},
		"of a host that has none":        {nil, told},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			keep := leavingOut(func() []ma.Multiaddr { return test.own })
			require.Equal(t, test.want, keep(told))
		})
	}
}
