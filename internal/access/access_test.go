package access

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

func newPeer(t *testing.T) peer.ID {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	p, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	return p
}

func address(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func write(t *testing.T, file string, lines ...string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
}

func TestRead(t *testing.T) {
	p := newPeer(t)
	l, err := Read(strings.NewReader(fmt.Sprintf("# who may not come\r\n\r\n  %s # Alice\n192.0.2.0/24\n192.0.2.7\n2001:db8::/32\n::ffff:198.51.100.7\n%s\n0.0.0.0/1", p, p)), "f")
	require.NoError(t, err)
	require.Equal(t, 6, l.Len(), "each once")
	for ip, want := range map[string]bool{
		"192.0.2.255": true, "192.0.3.0": false, "2001:db8:ffff::1": true, "2001:db9::1": false, "198.51.100.7": true,
		"198.51.100.8": false, "::ffff:192.0.2.1": true, "127.255.255.255": true, "128.0.0.1": false, "fe80::1%eth0": false, "": false,
	} {
		require.Equal(t, want, l.Has("", address(ip)), ip)
	}
	require.True(t, l.Has(p, netip.Addr{}))
	require.False(t, l.Has(newPeer(t), netip.Addr{}))
}

func TestReadRefuses(t *testing.T) {
	for name, test := range map[string]struct{ line, want string }{
		"a name":                     {"gateway.example.org", "is neither a peer id nor an address range"},
		"a peer id that is cut":      {"12D3KooWFTfkavhsf9qCxgyq5GVfE9rjWHTgHGRGcD6tWd9DSUo", "is neither a peer id"},
		"a multiaddr":                {"/ip4/192.0.2.1/udp/9443/quic-v1", "is no address range"},
		"bits that there are not":    {"192.0.2.0/33", "is no address range"},
		"a range with a host":        {"192.0.2.7/24", "the range is 192.0.2.0/24"},
		"IPv4 in IPv6":               {"::ffff:192.0.2.0/120", "is an IPv4 range in IPv6 form"},
		"a zone":                     {"fe80::1%eth0", "has a zone"},
		"two entries":                {"192.0.2.1 192.0.2.2", "is neither"},
		"a line longer than a page":  {strings.Repeat("x", 1000), "is neither"},
		"a line longer than a book":  {strings.Repeat("x", 1<<20), "token too long"},
		"bytes that nobody can read": {"\x00\xff", "is neither"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(strings.NewReader("# first\n\n"+test.line+"\n192.0.2.1\n"), "deny.txt")
			require.ErrorContains(t, err, "deny.txt:3: ")
			require.ErrorContains(t, err, test.want)
			require.Less(t, len(err.Error()), 600)
			if strings.Contains(err.Error(), "token too long") {
				return
			}
			require.ErrorAs(t, err, new(*EntryError))
			require.ErrorContains(t, err, "192.0.2.0/24")
		})
	}
}

func TestCheck(t *testing.T) {
	friend, stranger, foe := newPeer(t), newPeer(t), newPeer(t)
	for name, test := range map[string]struct {
		allow, deny []string
		p           peer.ID
		ip          string
		want        Verdict
	}{
		"no lists":                           {nil, nil, stranger, "192.0.2.1", LetIn},
		"an allow list of comments":          {[]string{"# nobody"}, nil, stranger, "192.0.2.1", LetIn},
		"denied by peer id":                  {nil, []string{foe.String()}, foe, "192.0.2.1", Denied},
		"denied by address":                  {nil, []string{"192.0.2.0/24"}, stranger, "192.0.2.1", Denied},
		"neither":                            {nil, []string{foe.String(), "192.0.2.0/24"}, stranger, "198.51.100.1", LetIn},
		"allowed by peer id":                 {[]string{friend.String(), "192.0.2.0/24"}, nil, friend, "198.51.100.1", LetIn},
		"allowed by address":                 {[]string{friend.String(), "192.0.2.0/24"}, nil, stranger, "192.0.2.1", LetIn},
		"allowed by none":                    {[]string{friend.String(), "192.0.2.0/24"}, nil, stranger, "198.51.100.1", NotAllowed},
		"denied though allowed":              {[]string{friend.String()}, []string{"192.0.2.0/24"}, friend, "192.0.2.1", Denied},
		"no peer id, and those are allowed":  {[]string{friend.String()}, nil, "", "192.0.2.1", NotAllowed},
		"behind a relay, allowed by peer id": {[]string{friend.String()}, nil, friend, "", LetIn},
		"behind a relay, ranges are allowed": {[]string{"0.0.0.0/0", "::/0"}, nil, stranger, "", NotAllowed},
		"loopback":                           {[]string{"192.0.2.0/24"}, nil, stranger, "127.0.0.1", NotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			allow, deny := filepath.Join(t.TempDir(), "allow"), filepath.Join(t.TempDir(), "deny")
			write(t, allow, test.allow...)
			write(t, deny, test.deny...)
			l, err := Open(allow, deny)
			require.NoError(t, err)
			require.Equal(t, test.want, l.Check(test.p, address(test.ip)))
			require.Equal(t, test.want != LetIn, l.Refuse(test.want))
			require.Equal(t, Stats{Denied: one(test.want == Denied), NotAllowed: one(test.want == NotAllowed)}, l.Stats())
		})
	}
	var none *Lists
	require.Equal(t, LetIn, none.Check(stranger, address("192.0.2.1")))
	require.Equal(t, LetIn, none.CheckAddress(address("192.0.2.1")))
	require.Equal(t, LetIn, none.CheckPeer(stranger))
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

// What is known first decides where nothing that is known later could.
func TestCheckEarly(t *testing.T) {
	friend, stranger := newPeer(t), newPeer(t)
	allow := filepath.Join(t.TempDir(), "allow")
	check := func(byAddress, byPeer Verdict, entries ...string) {
		t.Helper()
		write(t, allow, entries...)
		l, err := Open(allow, "")
		require.NoError(t, err)
		require.Equal(t, byAddress, l.CheckAddress(address("192.0.2.1")))
		require.Equal(t, byPeer, l.CheckPeer(stranger))
	}
	check(NotAllowed, LetIn, "198.51.100.0/24")
	check(LetIn, NotAllowed, friend.String())
	check(LetIn, LetIn, friend.String(), "198.51.100.0/24")
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	allow, deny := filepath.Join(dir, "allow"), filepath.Join(dir, "deny")
	_, err := Open(allow, "")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "allow list: ")
	write(t, allow, "192.0.2.0/24")
	write(t, deny, "192.0.2.7")
	l, err := Open(allow, deny)
	require.NoError(t, err)

	before := func() {
		t.Helper()
		require.Equal(t, LetIn, l.Check("", address("192.0.2.1")))
		require.Equal(t, Denied, l.Check("", address("192.0.2.7")))
		require.Equal(t, NotAllowed, l.Check("", address("198.51.100.1")))
	}
	write(t, allow, "198.51.100.0/24") // which would do, but for the other one
	write(t, deny, "# one", "192.0.2.8", "nonsense")
	require.ErrorContains(t, l.Reload(), deny+`:3: "nonsense"`)
	before()
	require.NoError(t, os.Remove(deny))
	require.ErrorIs(t, l.Reload(), os.ErrNotExist)
	before()

	write(t, deny)
	require.NoError(t, l.Reload())
	require.Equal(t, NotAllowed, l.Check("", address("192.0.2.7")))
	require.Equal(t, LetIn, l.Check("", address("198.51.100.1")))
	allowed, denied := l.Sizes()
	require.Equal(t, []int{1, 0}, []int{allowed, denied})
}

func TestAddressOf(t *testing.T) {
	relay := newPeer(t).String()
	for addr, want := range map[string]string{
		"/ip4/192.0.2.1/udp/1/quic-v1":                                            "192.0.2.1",
		"/ip6/2001:db8::1/udp/1/quic-v1":                                          "2001:db8::1",
		"/ip6/::ffff:192.0.2.1/udp/1/quic-v1":                                     "192.0.2.1",
		"/dns4/example.org/udp/1/quic-v1":                                         "",
		"/ip4/192.0.2.1/udp/1/quic-v1/p2p/" + relay + "/p2p-circuit":              "",
		"/ip4/192.0.2.1/udp/1/quic-v1/p2p/" + relay + "/p2p-circuit/p2p/" + relay: "",
	} {
		require.Equal(t, address(want), AddressOf(ma.StringCast(addr)), addr)
	}
	require.False(t, AddressOf(nil).IsValid())
}

func FuzzRead(f *testing.F) {
	f.Add("12D3KooWFTfkavhsf9qCxgyq5GVfE9rjWHTgHGRGcD6tWd9DSUoU\n10.0.0.0/8 # ours\n")
	f.Add("::1\n2001:db8::/129\n%\n/\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Read(strings.NewReader(text), "f")
		if err == nil {
			require.LessOrEqual(t, l.Len(), strings.Count(text, "\n")+strings.Count(text, "\r")+1)
		}
	})
}
