package routing

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
)

// bruteForce is what Nearest must equal: everything, sorted.
func bruteForce(all []ID, target ID, n int) []ID {
	all = slices.Clone(all)
	slices.SortFunc(all, target.CompareDistance)
	return all[:min(n, len(all))]
}

func TestNearestEqualsBruteForce(t *testing.T) {
	shapes := map[string]func(i int) (cpl int){
		"uniform":      nil, // random ids, crowded first buckets
		"two buckets":  func(i int) int { return []int{3, 90}[i%2] },
		"wide gaps":    func(i int) int { return i * 37 % IDBits },
		"deep only":    func(i int) int { return 200 + i%56 },
		"every bucket": func(i int) int { return i % IDBits },
		"last buckets": func(i int) int { return 250 + i%6 },
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			rng := newRand(3)
			for range 100 {
				self := randomID(rng)
				table, held := NewTable(self, 1+rng.IntN(BucketSize)), []ID{}
				for i := range rng.IntN(400) {
					id := randomID(rng)
					if shape != nil {
						id = idAt(rng, self, shape(i))
					}
					if _, known := table.Get(id); known {
						continue
					}
					if table.Add(libp2pContact(id, "p")) == nil {
						held = append(held, id)
					}
				}
				require.Equal(t, len(held), table.Len())
				targets := []ID{self, randomID(rng), {}, idAt(rng, self, 255)}
				for range 12 {
					targets = append(targets, idAt(rng, self, rng.IntN(IDBits)))
				}
				targets = append(targets, held[:min(3, len(held))]...)
				for _, target := range targets {
					n := 1 + rng.IntN(2*BucketSize)
					require.Equal(t, bruteForce(held, target, n), ids(table.Nearest(target, n)))
				}
			}
		})
	}
}

func TestNearestOfNone(t *testing.T) {
	table := NewTable(ID{}, BucketSize)
	require.Empty(t, table.Nearest(ID{1}, 20))
	require.NoError(t, table.Add(libp2pContact(ID{1}, "p")))
	require.Empty(t, table.Nearest(ID{1}, 0))
	require.Empty(t, table.Nearest(ID{1}, -1))
	require.Len(t, table.Nearest(ID{1}, 1<<62), 1, "n is no size to allocate")
}

func TestTableAdd(t *testing.T) {
	var (
		a, b    = ID{0x80, 1}, ID{0x80, 2} // one bucket
		far     = ID{0x01}                 // another bucket
		peerA   = libp2pContact(a, "A")
		unproof = func(c Contact) Contact { c.Verified = false; return c }
	)
	tests := []struct {
		name  string
		size  int
		there []Contact
		add   Contact
		want  error
		after []Contact // in order of All
	}{
		{"own id", 2, nil, libp2pContact(ID{}, "A"), ErrSelf, []Contact{}},
		{"new", 2, []Contact{peerA}, libp2pContact(b, "B"), nil, []Contact{peerA, libp2pContact(b, "B")}},
		{"refresh moves to the tail", 2, []Contact{peerA, libp2pContact(b, "B")}, peerA, nil,
			[]Contact{libp2pContact(b, "B"), peerA}},
		{"refresh in a full bucket", 1, []Contact{peerA}, peerA, nil, []Contact{peerA}},
		{"full bucket keeps the old", 1, []Contact{peerA}, libp2pContact(b, "B"), ErrBucketFull, []Contact{peerA}},
		{"another bucket has room", 1, []Contact{peerA}, libp2pContact(far, "F"), nil,
			[]Contact{peerA, libp2pContact(far, "F")}},
		{"other peer, same id", 2, []Contact{peerA}, libp2pContact(a, "X"), ErrIDTaken, []Contact{peerA}},
		{"Erlang contact claims a peer's id", 2, []Contact{peerA}, erlangContact(a, "https://x:1"), ErrIDTaken,
			[]Contact{peerA}},
		{"unverified peer's id is open", 2, []Contact{unproof(peerA)}, libp2pContact(a, "X"), nil,
			[]Contact{libp2pContact(a, "X")}},
		{"peer takes its id from an Erlang claim", 2, []Contact{erlangContact(a, "https://x:1")}, peerA, nil,
			[]Contact{peerA}},
		{"unverified peer does not", 2, []Contact{erlangContact(a, "https://x:1")}, unproof(peerA), ErrIDTaken,
			[]Contact{erlangContact(a, "https://x:1")}},
		{"Erlang node moves", 2, []Contact{erlangContact(a, "https://x:1")}, erlangContact(a, "https://x:2"), nil,
			[]Contact{erlangContact(a, "https://x:2")}},
		{"unverified move", 2, []Contact{erlangContact(a, "https://x:1")}, unproof(erlangContact(a, "https://x:2")),
			ErrIDTaken, []Contact{erlangContact(a, "https://x:1")}},
		{"verified stays verified", 2, []Contact{peerA}, unproof(peerA), nil, []Contact{peerA}},
		{"so does an Erlang node where it was", 2, []Contact{erlangContact(a, "https://x:1")},
			unproof(erlangContact(a, "https://x:1")), nil, []Contact{erlangContact(a, "https://x:1")}},
		{"size 0 is the default", 0, []Contact{peerA}, libp2pContact(b, "B"), nil,
			[]Contact{peerA, libp2pContact(b, "B")}},
		{"one contact per endpoint", 2, []Contact{erlangContact(a, "https://x:1")}, erlangContact(far, "https://x:1"),
			nil, []Contact{erlangContact(far, "https://x:1")}},
		{"same endpoint in a full bucket", 1, []Contact{erlangContact(a, "https://x:1")},
			erlangContact(b, "https://x:1"), nil, []Contact{erlangContact(b, "https://x:1")}},
		{"same endpoint, other bucket full", 1,
			[]Contact{peerA, erlangContact(far, "https://x:1")}, erlangContact(b, "https://x:1"), ErrBucketFull,
			[]Contact{peerA, erlangContact(far, "https://x:1")}},
		{"unverified claim of an endpoint", 2, []Contact{erlangContact(a, "https://x:1")},
			unproof(erlangContact(b, "https://x:1")), ErrIDTaken, []Contact{erlangContact(a, "https://x:1")}},
		{"a peer's endpoint is its own affair", 2, []Contact{erlangContact(a, "https://x:1")},
			Contact{ID: b, Peer: "B", Endpoint: "https://x:1", Verified: true}, nil,
			[]Contact{erlangContact(a, "https://x:1"), {ID: b, Peer: "B", Endpoint: "https://x:1", Verified: true}}},
		{"no endpoint is no rival", 2, []Contact{erlangContact(a, "")}, erlangContact(b, ""), nil,
			[]Contact{erlangContact(a, ""), erlangContact(b, "")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := NewTable(ID{}, tt.size)
			for _, c := range tt.there {
				require.NoError(t, table.Add(c))
			}
			require.ErrorIs(t, table.Add(tt.add), tt.want)
			require.Equal(t, tt.after, table.All())
			require.Equal(t, len(tt.after), table.Len())
		})
	}
}

func TestTableRefreshTakesWhatIsNew(t *testing.T) {
	table := NewTable(ID{}, BucketSize)
	c := libp2pContact(ID{1}, "p")
	require.NoError(t, table.Add(c))
	c.Addrs = []ma.Multiaddr{ma.StringCast("/ip4/1.2.3.4/udp/9443/quic-v1")}
	c.Endpoint = "https://1.2.3.4:9443"
	c.LastSeen = time.Unix(1, 0)
	require.NoError(t, table.Add(c))
	got, ok := table.Get(c.ID)
	require.True(t, ok)
	require.Equal(t, []Contact{c}, ungrouped([]Contact{got}))
}

func TestTableKeepsNothingOfTheCallers(t *testing.T) {
	table := NewTable(ID{}, BucketSize)
	nodeID := []byte("node")
	require.NoError(t, table.Add(Contact{ID: ID{1}, NodeID: nodeID}))
	copy(nodeID, "evil")
	got, _ := table.Get(ID{1})
	require.Equal(t, "node", string(got.NodeID))
}

func TestTableRemove(t *testing.T) {
	table := NewTable(ID{}, BucketSize)
	c := erlangContact(ID{1}, "https://x:1")
	require.NoError(t, table.Add(c))
	require.True(t, table.Remove(c.ID))
	require.False(t, table.Remove(c.ID))
	require.False(t, table.Remove(ID{}), "self is never there")
	_, ok := table.Get(c.ID)
	require.False(t, ok)
	require.Zero(t, table.Len())
	require.Empty(t, table.endpoints)
}

func TestTableEndpointIndexIsExact(t *testing.T) {
	rng := newRand(4)
	table := NewTable(ID{}, 3)
	for range 8_000 {
		id := ID{byte(rng.IntN(256))}
		switch endpoint := fmt.Sprint("https://", rng.IntN(8)); rng.IntN(4) {
		case 0:
			table.Remove(id)
		case 1:
			_ = table.Add(Contact{ID: id, Peer: "p", Endpoint: endpoint, Verified: rng.IntN(2) == 0})
		default:
			_ = table.Add(Contact{ID: id, Endpoint: endpoint, Verified: rng.IntN(2) == 0})
		}
		want := map[string]ID{}
		for _, c := range table.All() {
			if c.IsErlang() {
				require.NotContains(t, want, c.Endpoint)
				want[c.Endpoint] = c.ID
			}
		}
		require.Equal(t, want, table.endpoints)
	}
}

func TestTableConcurrently(t *testing.T) {
	table := NewTable(ID{}, BucketSize)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := newRand(uint64(w))
			for range 2000 {
				id := randomID(rng)
				_ = table.Add(libp2pContact(id, "p"))
				near := ids(table.Nearest(id, BucketSize))
				if !slices.IsSortedFunc(near, id.CompareDistance) {
					t.Error("not nearest first")
				}
				if rng.IntN(3) == 0 {
					table.Remove(id)
				}
				table.Get(id)
				_ = table.All()
			}
		})
	}
	wg.Wait()
}

// Lookups go from one libp2p contact to the next: Erlang ones do not keep them out.
func TestLibp2pContactsComeBeforeErlangOnes(t *testing.T) {
	table := NewTable(IDFromBytes([]byte("self")), 2)
	var all []Contact
	for i := 0; len(all) < 4; i++ { // of bucket 0
		c := libp2pContact(randomID(newRand(uint64(i))), "p")
		if table.bucketOf(c.ID) == 0 {
			all = append(all, c)
		}
	}
	erlang := func(c Contact, host string) Contact {
		c.Peer, c.Endpoint = "", "https://"+host+":9443"
		return c
	}
	older, newer := erlang(all[0], "10.0.0.1"), erlang(all[1], "10.0.0.2")
	require.NoError(t, table.Add(older))
	require.NoError(t, table.Add(newer))

	unverified := all[2]
	unverified.Verified = false
	require.ErrorIs(t, table.Add(unverified), ErrBucketFull)
	require.NoError(t, table.Add(all[2]))
	_, there := table.Get(older.ID)
	require.False(t, there, "the one that was silent longest makes way")
	require.NoError(t, table.Add(all[3]))
	require.ElementsMatch(t, []ID{all[2].ID, all[3].ID}, []ID{table.All()[0].ID, table.All()[1].ID})
	require.ErrorIs(t, table.Add(newer), ErrBucketFull, "and nobody makes way for it")
	require.Len(t, table.endpoints, 0)
}

func TestRandomID(t *testing.T) {
	rng := newRand(12)
	for bucket := range IDBits {
		table := NewTable(randomID(rng), BucketSize)
		require.Equal(t, bucket, table.buckets.self.CommonPrefixLen(table.RandomID(bucket)))
	}
	table := NewTable(ID{}, BucketSize)
	require.NotEqual(t, table.RandomID(3), table.RandomID(3))
}

// The nearest of one kind are those of all without the other kind.
func TestNearestOfOneKind(t *testing.T) {
	rng := newRand(13)
	table := NewTable(randomID(rng), BucketSize)
	var peers, erlang []ID
	for i := range 400 {
		id := randomID(rng)
		if i%3 == 0 && table.Add(erlangContact(id, fmt.Sprintf("https://10.0.0.1:%d", i))) == nil {
			erlang = append(erlang, id)
		}
		if i%3 > 0 && len(*table.buckets.in(id)) < BucketSize && table.Add(libp2pContact(id, "p")) == nil { // so nobody makes way
			peers = append(peers, id)
		}
	}
	var appended []ID
	for range 100 {
		target := randomID(rng)
		require.Equal(t, bruteForce(peers, target, BucketSize), ids(table.NearestPeers(target, BucketSize)))
		require.Equal(t, bruteForce(erlang, target, 5), ids(table.NearestErlang(target, 5)))
		appended = table.AppendNearestPeers(append(appended[:0], ID{7}), target)
		require.Equal(t, append([]ID{{7}}, bruteForce(peers, target, BucketSize)...), appended)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { appended = table.AppendNearestPeers(appended[:0], ID{1}) }))
}

// What speaks for and against a contact since it last answered.
func TestDoubtfulContacts(t *testing.T) {
	c := libp2pContact(ID{1}, "p")
	type view struct {
		failures int
		doubtful bool
	}
	tests := map[string]struct {
		steps func(table *Table)
		want  view
	}{
		"new":             {func(*Table) {}, view{0, false}},
		"a failure":       {func(table *Table) { table.Failed(c.ID, time.Now()) }, view{1, true}},
		"two":             {func(table *Table) { table.Failed(c.ID, time.Now()); table.Failed(c.ID, time.Now()) }, view{2, true}},
		"a lookup waited": {func(table *Table) { table.Doubt(c.ID, time.Now()) }, view{0, true}},
		"and it answered": {func(table *Table) {
			table.Doubt(c.ID, time.Now())
			table.Failed(c.ID, time.Now())
			table.Alive(c.ID, time.Now())
		}, view{0, false}},
		"and it spoke":        {func(table *Table) { table.Failed(c.ID, time.Now()); _ = table.Add(c) }, view{0, false}},
		"another was doubted": {func(table *Table) { table.Doubt(ID{2}, time.Now()) }, view{0, false}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := NewTable(ID{}, 0)
			require.NoError(t, table.Add(c))
			tt.steps(table)
			got, ok := table.Get(c.ID)
			require.True(t, ok)
			require.Equal(t, tt.want, view{got.Failures(), got.Doubtful()})
		})
	}
}
