package diversity

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/stretchr/testify/require"
)

func TestGroup(t *testing.T) {
	everywhere := Defaults()
	everywhere.Everywhere = true
	for name, tt := range map[string]struct {
		limits Limits
		ip     string
		want   string // nothing for no group
	}{
		"IPv4":                      {Defaults(), "8.8.8.8", "8.8.8.0/24"},
		"IPv4 in IPv6":              {Defaults(), "::ffff:8.8.8.8", "8.8.8.0/24"},
		"IPv6":                      {Defaults(), "2a00:1450:4001:81b::200e", "2a00:1450:4001::/48"},
		"loopback":                  {Defaults(), "127.0.0.1", ""},
		"private":                   {Defaults(), "10.1.2.3", ""},
		"shared by a provider":      {Defaults(), "100.64.0.1", ""},
		"IPv6 loopback":             {Defaults(), "::1", ""},
		"unique local":              {Defaults(), "fd00::1", ""},
		"link-local with a zone":    {Defaults(), "fe80::1%eth0", ""},
		"loopback, everywhere":      {everywhere, "127.0.0.1", "127.0.0.0/24"},
		"private, everywhere":       {everywhere, "10.1.2.3", "10.1.2.0/24"},
		"link-local, everywhere":    {everywhere, "fe80::1%eth0", "fe80::/48"},
		"a public one, everywhere":  {everywhere, "8.8.8.8", "8.8.8.0/24"},
		"unique local, everywhere":  {everywhere, "fd00:1:2:3::1", "fd00:1:2::/48"},
		"IPv6 loopback, everywhere": {everywhere, "::1", "::/48"},
		"hidden":                    {Defaults(), "::", "::/0"},
		"hidden, as IPv4":           {Defaults(), "0.0.0.0", "::/0"},
		"hidden, everywhere":        {everywhere, "::", "::/0"},
	} {
		t.Run(name, func(t *testing.T) {
			group := tt.limits.Group(netip.MustParseAddr(tt.ip))
			require.Equal(t, tt.want != "", group.IsValid())
			if tt.want != "" {
				require.Equal(t, tt.want, group.String())
			}
		})
	}
	require.False(t, everywhere.Group(netip.Addr{}).IsValid(), "where nothing is known")
}

// Whether an address is public is what go-multiaddr says: at both ends of each of its
// ranges and beyond them, and anywhere.
func TestIsPublic(t *testing.T) {
	require.Len(t, private4, len(manet.Private4)+len(manet.Unroutable4))
	check := func(ip netip.Addr) {
		a, err := manet.FromIP(ip.AsSlice())
		require.NoError(t, err)
		require.Equal(t, manet.IsPublicAddr(a), isPublic(ip), ip)
	}
	for _, p := range slices.Concat(private4, private6, public6, prefixes(manet.Private6)) {
		first := p.Masked().Addr()
		last := first.AsSlice()
		for bit := p.Bits(); bit < 8*len(last); bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, ip := range []netip.Addr{first.Prev(), first, end, end.Next()} {
			if ip.IsValid() {
				check(ip)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], rng.Uint64())
		binary.BigEndian.PutUint64(b[8:], rng.Uint64())
		check(netip.AddrFrom16(b).Unmap())
		check(netip.AddrFrom4([4]byte(b[:4])))
		b[0] = 0x20 | b[0]&0x1f
		check(netip.AddrFrom16(b))
	}
}

func TestValidate(t *testing.T) {
	require.NoError(t, Defaults().Validate())
	for name, tt := range map[string]struct {
		limits Limits
		want   string
	}{
		"none a bucket":          {Limits{PerTable: 5, PerList: 1}, "want 1 <= a bucket <= a table"},
		"more than in the table": {Limits{PerBucket: 3, PerTable: 2, PerList: 1}, "want 1 <= a bucket <= a table"},
		"none a list":            {Limits{PerBucket: 1, PerTable: 1}, "0 a list: want 1 or more"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, tt.limits.Validate(), tt.want) })
	}
}

func TestShares(t *testing.T) {
	var s Shares
	a, b := netip.MustParsePrefix("8.8.8.0/24"), netip.MustParsePrefix("9.9.9.0/24")
	for range 2 {
		require.True(t, s.Take(a, 2))
		require.True(t, s.Take(a, 2))
		require.False(t, s.Take(a, 2))
		require.False(t, s.Take(a, 2))
		require.True(t, s.Take(b, 1))
		require.False(t, s.Take(b, 1))
		for range 3 {
			require.True(t, s.Take(netip.Prefix{}, 1), "what is in no group is not limited")
		}
		s.Reset()
	}
}
