package routing

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

func TestDiversity(t *testing.T) {
	// near and far are ids of two buckets.
	near := func(i int) ID { return ID{1, byte(i)} }
	far := func(i int) ID { return ID{0x80, byte(i)} }
	v4 := func(i int) string { return fmt.Sprintf("https://8.8.8.%d:9443", i) }
	fill := func(n int, id func(int) ID, endpoint func(int) string) (contacts []Contact) {
		for i := range n {
			contacts = append(contacts, erlangContact(id(i), endpoint(i)))
		}
		return contacts
	}
	named := func(id ID, i int) Contact { // a name that was verified at an address
		c := erlangContact(id, fmt.Sprintf("https://node-%d.example:1", i))
		c.Addrs = []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/8.8.8.%d/udp/1/quic-v1", i))}
		return c
	}
	each := func(i int) ID { return ID{0x80 >> i} } // another bucket each
	tests := map[string]struct {
		there []Contact
		add   Contact
		want  error
	}{
		"a third of a /24 in a bucket":    {fill(2, far, v4), erlangContact(far(2), v4(2)), ErrCrowded},
		"in another bucket":               {fill(2, far, v4), erlangContact(near(2), v4(2)), nil},
		"of another /24":                  {fill(2, far, v4), erlangContact(far(2), "https://8.8.9.1:9443"), nil},
		"on another port":                 {fill(2, far, v4), erlangContact(far(2), "https://8.8.8.0:9444"), ErrCrowded},
		"as IPv6 that is IPv4":            {fill(2, far, v4), erlangContact(far(2), "https://[::ffff:8.8.8.3]:9443"), ErrCrowded},
		"a ninth in the table":            {fill(8, each, v4), erlangContact(ID{0, 0x80}, v4(9)), ErrCrowded},
		"an eighth":                       {fill(7, each, v4), erlangContact(ID{0, 0x80}, v4(9)), nil},
		"a third of a /48 in a bucket":    {fill(2, far, func(i int) string { return fmt.Sprintf("https://[2a00:1450:4001:%x::1]:1", i) }), erlangContact(far(2), "https://[2a00:1450:4001:ffff::9]:1"), ErrCrowded},
		"of another /48":                  {fill(2, far, func(i int) string { return fmt.Sprintf("https://[2a00:1450:4001:%x::1]:1", i) }), erlangContact(far(2), "https://[2a00:1450:4002::9]:1"), nil},
		"private addresses":               {fill(15, far, func(i int) string { return fmt.Sprintf("https://10.0.0.%d:1", i) }), erlangContact(far(20), "https://10.0.0.99:1"), nil},
		"loopback":                        {fill(15, far, func(i int) string { return fmt.Sprintf("https://127.0.0.1:%d", i+1) }), erlangContact(far(20), "https://127.0.0.1:99"), nil},
		"private IPv6":                    {fill(15, far, func(i int) string { return fmt.Sprintf("https://[fd00::%x]:1", i+1) }), erlangContact(far(20), "https://[fd00::ff]:1"), nil},
		"a zone":                          {fill(15, far, func(i int) string { return fmt.Sprintf("https://[fe80::%x%%25eth0]:1", i+1) }), erlangContact(far(20), "https://[fe80::ff%25eth0]:1"), nil},
		"names":                           {fill(15, far, func(i int) string { return fmt.Sprintf("https://node-%d.example:1", i) }), erlangContact(far(20), "https://node-99.example:1"), nil},
		"a name at an address":            {fill(2, far, v4), named(far(2), 2), ErrCrowded},
		"an address that has names":       {[]Contact{named(far(0), 0), named(far(1), 1)}, erlangContact(far(2), v4(2)), ErrCrowded},
		"what is no URL":                  {fill(15, far, func(i int) string { return fmt.Sprintf("%%zz%d", i) }), erlangContact(far(20), "%zz"), nil},
		"no endpoint":                     {fill(2, far, v4), erlangContact(far(20), ""), nil},
		"a libp2p contact":                {fill(2, far, v4), Contact{ID: far(20), Peer: "p", Endpoint: v4(20), Verified: true}, nil},
		"beside libp2p contacts":          {[]Contact{{ID: far(0), Peer: "p", Endpoint: v4(0)}, {ID: far(1), Peer: "q", Endpoint: v4(1)}}, erlangContact(far(2), v4(2)), nil},
		"one that is there":               {fill(2, far, v4), erlangContact(far(1), v4(1)), nil},
		"one that moves within":           {fill(2, far, v4), erlangContact(far(1), v4(7)), nil},
		"one that moves in":               {append(fill(2, far, v4), erlangContact(far(2), "https://8.8.9.1:9443")), erlangContact(far(2), v4(7)), ErrCrowded},
		"an endpoint under another id":    {fill(2, far, v4), erlangContact(far(7), v4(1)), nil},
		"that comes into a crowded one":   {append(fill(2, far, v4), erlangContact(near(2), v4(2))), erlangContact(far(7), v4(2)), ErrCrowded},
		"an endpoint of eight, elsewhere": {fill(8, each, v4), erlangContact(ID{0, 0x80}, v4(3)), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := NewTable(ID{}, BucketSize)
			for _, c := range tt.there {
				require.NoError(t, table.Add(c))
			}
			require.ErrorIs(t, table.Add(tt.add), tt.want)
			got, there := table.Get(tt.add.ID)
			require.Equal(t, tt.want == nil, there && got.Endpoint == tt.add.Endpoint)
			if tt.want != nil {
				require.ElementsMatch(t, ids(tt.there), ids(table.All()), "nobody left")
			}
			requireDiverse(t, table)
		})
	}
}

// requireDiverse counts all over again.
func requireDiverse(t *testing.T, table *Table) {
	t.Helper()
	counted := groupCounts{}
	type inBucket struct {
		bucket int
		group  netip.Prefix
	}
	perBucket := map[inBucket]int{}
	for _, c := range table.All() {
		if table.limits.Group(c.ip()) != c.group || c.crowded && (!c.group.IsValid() || c.IsErlang()) {
			t.Fatalf("%s at %s is of the group %s, crowded %t", c.ID, c.ip(), c.group, c.crowded)
		}
		if !c.group.IsValid() || c.crowded {
			continue
		}
		counted[c.group]++
		where := inBucket{table.bucketOf(c.ID), c.group}
		perBucket[where]++
		if counted[c.group] > table.limits.PerTable || perBucket[where] > table.limits.PerBucket {
			t.Fatalf("too many of %s", c.group)
		}
	}
	require.True(t, maps.Equal(counted, table.groups))
	for _, c := range table.All() {
		if c.crowded && counted[c.group] < table.limits.PerTable && perBucket[inBucket{table.bucketOf(c.ID), c.group}] < table.limits.PerBucket {
			t.Fatalf("a place of the share of %s is free", c.group)
		}
	}
}

// perTable is limits of a bucket and a table.
func perTable(bucket, table int) diversity.Limits {
	return diversity.Limits{PerBucket: bucket, PerTable: table, PerList: 2}
}

func TestWithDiversity(t *testing.T) {
	_, err := NewServer(ID{}, WithDiversity(diversity.Limits{}))
	require.ErrorContains(t, err, "want 1 <= a bucket <= a table")
	s := newServer(t, WithDiversity(perTable(1, 2)))
	require.NoError(t, s.Admit(erlangContact(ID{0x80}, "https://8.8.8.8:1")))
	require.ErrorIs(t, s.Admit(erlangContact(ID{0x81}, "https://8.8.8.9:1")), ErrCrowded)
	require.NoError(t, s.Admit(erlangContact(ID{0x40}, "https://8.8.8.9:1")))
	require.ErrorIs(t, s.Admit(erlangContact(ID{0x20}, "https://8.8.8.10:1")), ErrCrowded)
}

// peerAt returns a libp2p contact that was verified at an address.
func peerAt(id ID, ip string) Contact {
	c := libp2pContact(id, peer.ID(fmt.Sprintf("p%x", id[:4])))
	c.SeenIP = netip.MustParseAddr(ip)
	return c
}

// Whoever has one machine gets no place that anybody else wants, and the last place in
// lists.
func TestCrowdedPeersGiveWay(t *testing.T) {
	const honest = 10
	s := newServer(t)
	id := func(i int) ID { return ID{0x80, byte(i)} } // of one bucket
	for i := range BucketSize {
		require.NoError(t, s.Admit(peerAt(id(i), fmt.Sprintf("8.8.8.%d", i))))
	}
	require.ErrorIs(t, s.Admit(peerAt(id(20), "8.8.8.20")), ErrCrowded, "the bucket is full")
	require.Empty(t, s.Table().Replacements())

	for i := range honest {
		require.NoError(t, s.Admit(peerAt(id(100+i), fmt.Sprintf("9.9.%d.9", i))))
	}
	require.Equal(t, BucketSize, s.Table().Len())
	for _, list := range [][]Contact{s.FindNode([]byte{1}), s.FindNode(id20(0x80))} {
		require.Len(t, list, BucketSize, "others fill it up")
	}
	for i := range 2 * honest { // far more than there is room for
		err := s.Admit(peerAt(id(150+i), fmt.Sprintf("9.8.%d.9", i)))
		require.Equal(t, i >= BucketSize-2-honest, errors.Is(err, ErrBucketFull))
	}
	crowd := 0
	for _, c := range s.Contacts() {
		if c.SeenIP.As4()[0] == 8 {
			crowd++
		}
	}
	require.Equal(t, diversity.DefaultPerBucket, crowd, "its share stays")
}

func id20(first byte) []byte { id := ID{first}; return id[:] }

// Of a list no group has more than its share while others are there, however far.
func TestListsAreDiverse(t *testing.T) {
	s := newServer(t, WithBucketSize(1000))
	for i := range 8 {
		require.NoError(t, s.Admit(peerAt(ID{0: 0x80, 31: byte(i)}, fmt.Sprintf("8.8.8.%d", i))))
	}
	far := func(i int) ID { return ID{0x40, byte(i)} }
	for i := range 17 {
		require.NoError(t, s.Admit(peerAt(far(i), fmt.Sprintf("9.9.%d.9", i))))
	}
	list := s.FindNode(id20(0x80))
	require.Len(t, list, BucketSize)
	want := []ID{{0: 0x80}, {0: 0x80, 31: 1}, {0: 0x80, 31: 2}} // one more than its share, as all others are there
	require.Equal(t, want, ids(list[:3]), "nearest first")

	require.NoError(t, s.Admit(peerAt(far(17), "9.9.17.9")))
	list = s.FindNode(id20(0x80))
	require.Equal(t, want[:2], ids(list[:2]))
	require.Equal(t, far(0), list[2].ID)
	require.Equal(t, ids(list), s.Table().AppendNearestPeers(nil, ID{0x80}), "records are handed over to the same")
}

// Against all lists that could be: nearest first, of each group its nearest, and the
// places left over to the nearest of the rest.
func TestListsAgainstBruteForce(t *testing.T) {
	for seed := range uint64(20) {
		rng := newRand(seed)
		s := newServer(t, WithBucketSize(1000))
		n := 10 + rng.IntN(50)
		for range n {
			require.NoError(t, s.Admit(peerAt(randomID(rng), fmt.Sprintf("8.8.%d.%d", rng.IntN(1+n/3), rng.IntN(250)))))
		}
		target := randomID(rng)
		all := s.Table().Nearest(target, n)
		var shares diversity.Shares
		var want, rest []Contact
		for _, c := range all {
			if shares.Take(c.group, diversity.DefaultPerList) {
				want = append(want, c)
			} else {
				rest = append(rest, c)
			}
		}
		want = want[:min(len(want), BucketSize)]
		want = append(want, rest[:min(len(rest), BucketSize-len(want))]...)
		slices.SortFunc(want, func(a, b Contact) int { return target.CompareDistance(a.ID, b.ID) })
		require.Equal(t, ids(want), ids(s.FindNode(target[:])), "seed %d", seed)
	}
}

// A contact counts where its connection was, whatever it claims.
func TestGroupOfAConnection(t *testing.T) {
	claim := ma.StringCast("/ip4/9.9.9.9/udp/1/quic-v1")
	relayed := ma.StringCast("/ip4/7.7.7.7/udp/1/quic-v1/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X/p2p-circuit")
	for name, tt := range map[string]struct {
		contact Contact
		want    string
	}{
		"seen":                  {Contact{Peer: "p", SeenIP: netip.MustParseAddr("8.8.8.8"), Addrs: []ma.Multiaddr{claim}}, "8.8.8.0/24"},
		"claimed":               {Contact{Peer: "p", Addrs: []ma.Multiaddr{ma.StringCast("/dns4/a.example/udp/1"), claim}}, "9.9.9.0/24"},
		"seen in a private one": {Contact{Peer: "p", SeenIP: netip.MustParseAddr("10.0.0.1"), Addrs: []ma.Multiaddr{claim}}, "invalid Prefix"},
		"behind a relay":        {Contact{Peer: "p", SeenIP: addressing.IPOf(relayed)}, "7.7.7.0/24"},
		"nowhere":               {Contact{Peer: "p"}, "invalid Prefix"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tt.want, newServer(t).Group(tt.contact).String()) })
	}
	s := newServer(t)
	_, known := s.GroupSeen(Contact{Peer: "p"})
	require.False(t, known)
	s.SetSeenIP(func(p peer.ID) netip.Addr { return map[peer.ID]netip.Addr{"p": netip.MustParseAddr("8.8.8.8")}[p] })
	group, known := s.GroupSeen(Contact{Peer: "p", Addrs: []ma.Multiaddr{claim}})
	require.True(t, known)
	require.Equal(t, "8.8.8.0/24", group.String())
	group, known = s.GroupSeen(Contact{Peer: "q", Addrs: []ma.Multiaddr{claim}})
	require.True(t, known)
	require.Equal(t, gone, group, "whoever is not connected any more hides nothing by that")
	s.SetSeenIP(nil)
	_, known = s.GroupSeen(Contact{Peer: "p"})
	require.False(t, known)
}

// Whatever comes and goes, the limits hold and the counts are exact, nobody waits
// for a place that is free, and who is crowded out would have been one too many.
func TestDiversityAgainstBruteForce(t *testing.T) {
	crowded, gaveWay := 0, 0
	for seed := range uint64(8) {
		rng := newRand(seed)
		table := NewTable(ID{}, 1+rng.IntN(4))
		table.limits = perTable(1+rng.IntN(2), 2+rng.IntN(3))
		for range 3000 {
			id := ID{byte(rng.IntN(64))}
			c := Contact{ID: id, Verified: rng.IntN(4) > 0, Peer: "p"}
			switch rng.IntN(16) {
			case 0: // of no group
			case 1, 2, 3: // more, and no Erlang one would be left soon
				c.SeenIP = netip.AddrFrom4([4]byte{8, 8, byte(rng.IntN(3)), byte(rng.IntN(6))})
			default:
				c.Peer, c.Endpoint = "", fmt.Sprintf("https://8.8.%d.%d:1", rng.IntN(3), rng.IntN(6))
			}
			before := table.All()
			switch rng.IntN(6) {
			case 0:
				table.Remove(id)
			case 1:
				table.Failed(id, time.Now())
			default:
				if id == (ID{}) {
					continue
				}
				if table.Add(c) == ErrCrowded {
					crowded++
					requireCrowded(t, table, before, c)
				} else if slices.ContainsFunc(before, func(o Contact) bool {
					_, there := table.Get(o.ID)
					return o.crowded && !there
				}) {
					gaveWay++
				}
			}
			requireDiverse(t, table)
			for bucket := range table.replacements {
				require.Len(t, table.buckets.lists[bucket], table.size, "they wait for a place")
			}
		}
	}
	require.Greater(t, crowded, 100)
	require.Greater(t, gaveWay, 100)
}

// requireCrowded checks that with c there would have been too many of its group.
func requireCrowded(t *testing.T, table *Table, before []Contact, c Contact) {
	t.Helper()
	group := table.limits.Group(c.ip())
	all, inBucket := 1, 1
	for _, o := range before {
		if o.group == group && !o.crowded && o.ID != c.ID && (o.Endpoint != c.Endpoint || c.Endpoint == "") {
			all++
			if table.bucketOf(o.ID) == table.bucketOf(c.ID) {
				inBucket++
			}
		}
	}
	require.True(t, all > table.limits.PerTable || inBucket > table.limits.PerBucket)
}
