package bootstrap

import (
	"math"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/state/statetest"
)

// FuzzKept: whatever was kept for after a restart, it is refused or made of contacts that
// can be tried, and those are the same after the next.
func FuzzKept(f *testing.F) {
	addr := ma.StringCast("/ip4/192.0.2.7/udp/9443/quic-v1")
	some := []kept{
		{info: peer.AddrInfo{ID: "\x00\x0e00000000000000", Addrs: []ma.Multiaddr{addr, addr}}, since: time.Unix(1, 0), answered: time.Unix(2, 0), missed: 1},
		{info: peer.AddrInfo{ID: "\x00\x0e00000000000001", Addrs: []ma.Multiaddr{addr}}, since: time.Unix(3, 0)},
	}
	beyond := kept{info: some[0].info, since: time.Unix(math.MinInt64, 0), answered: time.Unix(math.MaxInt64, 0), missed: math.MinInt64}
	for _, all := range [][]kept{some, some[:1], nil, {beyond}} {
		value, err := encode(all, true)
		require.NoError(f, err)
		f.Add([]byte(value))
		f.Add([]byte(value)[:len(value)-1])
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		s := new(statetest.Memory)
		require.NoError(t, s.Put(t.Context(), keptKey, value))
		k := newKeeper(s)
		if err := k.load(t.Context()); err != nil {
			require.ErrorContains(t, err, "contacts/kept")
			return
		}
		require.LessOrEqual(t, len(k.all), maxKept)
		for _, c := range k.all {
			require.NoError(t, c.info.ID.Validate())
			require.NotEmpty(t, c.info.Addrs)
			require.LessOrEqual(t, len(c.info.Addrs), keptAddrs)
			require.Less(t, c.missed, maxMissed)
			require.GreaterOrEqual(t, c.missed, 0)
			for _, at := range []time.Time{c.since, c.answered} {
				_, err := at.MarshalText()
				require.NoError(t, err)
			}
			c.groups()
		}
		choose(nil, k.all, k.self)
		again, err := encode(k.all, true)
		require.NoError(t, err)
		require.NoError(t, s.Put(t.Context(), keptKey, again))
		l := newKeeper(s)
		require.NoError(t, l.load(t.Context()))
		require.ElementsMatch(t, peersOf(k.all), peersOf(l.all))
	})
}
