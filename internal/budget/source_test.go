package budget_test

import (
	"net/netip"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/budget"
)

func TestSource(t *testing.T) {
	id, err := peer.Decode("12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5")
	require.NoError(t, err)
	tests := map[string]struct {
		addr, name, group string
	}{
		"IPv4":               {"192.0.2.17", "192.0.2.17", "192.0.2.0/24"},
		"IPv6":               {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		"IPv4 in IPv6":       {"::ffff:192.0.2.17", "192.0.2.17", "192.0.2.0/24"},
		"zone":               {"fe80::1%eth0", "fe80::/64", ""},
		"IPv4 with a zone":   {"::ffff:192.0.2.17%eth0", "192.0.2.17", "192.0.2.0/24"},
		"loopback":           {"127.0.0.1", "127.0.0.1", ""},
		"loopback 6":         {"::1", "::/64", ""},
		"loopback 4 in 6":    {"::ffff:127.0.0.1", "127.0.0.1", ""},
		"private":            {"192.168.1.2", "192.168.1.2", ""},
		"private 6":          {"fd00:1:2:3::1", "fd00:1:2:3::/64", ""},
		"link-local":         {"169.254.1.1", "169.254.1.1", ""},
		"nobody knows where": {"", "unknown", "unknown"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var addr netip.Addr
			if tt.addr != "" {
				addr = netip.MustParseAddr(tt.addr)
			}
			byAddr := budget.SourceOfAddr(addr)
			require.Equal(t, budget.Source{Name: tt.name, Group: tt.group}, byAddr)
			require.False(t, byAddr.IsOwn())
			require.Equal(t, budget.Source{Name: id.String(), Group: tt.group}, budget.SourceOfPeer(id, addr))
			require.Equal(t, byAddr, budget.SourceOfPeer("", addr))
		})
	}
	require.True(t, budget.Source{}.IsOwn())
}

func TestSourceString(t *testing.T) {
	require.Equal(t, "192.0.2.1 (192.0.2.0/24)", alice.String())
	require.Equal(t, "127.0.0.1", local.String())
	require.Equal(t, "this node", budget.Source{}.String())
}

func TestEverywhere(t *testing.T) {
	for addr, want := range map[string]string{"127.0.0.9": "127.0.0.0/24", "10.1.2.3": "10.1.2.0/24", "fe80::1%eth0": "fe80::/48", "8.8.8.8": "8.8.8.0/24"} {
		limits := budget.DefaultLimits()
		limits.Everywhere = true
		b, err := budget.New(limits)
		require.NoError(t, err)
		exempt, err := budget.New(budget.DefaultLimits())
		require.NoError(t, err)
		at := netip.MustParseAddr(addr)
		for _, open := range []func(b *budget.Budget) *budget.Account{
			func(b *budget.Budget) *budget.Account { return b.OpenAddr(at) },
			func(b *budget.Budget) *budget.Account { return b.OpenPeer("a peer", at) },
		} {
			a := open(b)
			require.Equal(t, want, a.Source().Group)
			a.Close()
			a = open(exempt)
			require.Equal(t, budget.SourceOfAddr(at).Group, a.Source().Group)
			a.Close()
		}
	}
}
