package routing

import (
	"fmt"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
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
	counted := networks{}
	perBucket := map[string]int{}
	for _, c := range table.All() {
		network, limited := c.network()
		if !limited {
			continue
		}
		counted[network]++
		where := fmt.Sprint(table.bucketOf(c.ID), network)
		perBucket[where]++
		require.LessOrEqual(t, counted[network], table.limit.perTable, network)
		require.LessOrEqual(t, perBucket[where], table.limit.perBucket, where)
	}
	require.Equal(t, counted, table.networks)
}

func TestWithDiversity(t *testing.T) {
	for name, opt := range map[string]Option{
		"none a bucket":          WithDiversity(0, 5),
		"more than in the table": WithDiversity(3, 2),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewServer(ID{}, opt)
			require.ErrorContains(t, err, "want 1 <= a bucket <= a table")
		})
	}
	s := newServer(t, WithDiversity(1, 2))
	require.NoError(t, s.Admit(erlangContact(ID{0x80}, "https://8.8.8.8:1")))
	require.ErrorIs(t, s.Admit(erlangContact(ID{0x81}, "https://8.8.8.9:1")), ErrCrowded)
	require.NoError(t, s.Admit(erlangContact(ID{0x40}, "https://8.8.8.9:1")))
	require.ErrorIs(t, s.Admit(erlangContact(ID{0x20}, "https://8.8.8.10:1")), ErrCrowded)
}

// Whatever comes and goes, the limits hold and the counts are exact, nobody waits
// for a place that is free, and who is crowded out would have been one too many.
func TestDiversityAgainstBruteForce(t *testing.T) {
	crowded := 0
	for seed := range uint64(8) {
		rng := newRand(seed)
		table := NewTable(ID{}, 1+rng.IntN(4))
		table.limit = diversity{perBucket: 1 + rng.IntN(2), perTable: 2 + rng.IntN(3)}
		for range 3000 {
			id := ID{byte(rng.IntN(64))}
			c := Contact{ID: id, Verified: rng.IntN(4) > 0, Peer: "p"}
			if rng.IntN(16) > 0 { // else no Erlang one is left soon
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
				}
			}
			requireDiverse(t, table)
			for bucket := range table.replacements {
				require.Len(t, table.buckets.lists[bucket], table.size, "they wait for a place")
			}
		}
	}
	require.Greater(t, crowded, 100)
}

// requireCrowded checks that with c there would have been too many of its network.
func requireCrowded(t *testing.T, table *Table, before []Contact, c Contact) {
	t.Helper()
	network, _ := c.network()
	all, inBucket := 1, 1
	for _, o := range before {
		if n, ok := o.network(); ok && n == network && o.ID != c.ID && o.Endpoint != c.Endpoint {
			all++
			if table.bucketOf(o.ID) == table.bucketOf(c.ID) {
				inBucket++
			}
		}
	}
	require.True(t, all > table.limit.perTable || inBucket > table.limit.perBucket)
}
