package routing

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/diversity"
)

// ungrouped returns contacts as they were before a table saw them.
func ungrouped(contacts []Contact) []Contact {
	for i := range contacts {
		contacts[i].group = netip.Prefix{}
	}
	return contacts
}

func TestWhoWaits(t *testing.T) {
	// Bucket 0 is of ids that begin with a one, bucket 7 of ID{1}.
	peer := func(i byte) Contact { return libp2pContact(ID{0x80, i}, "p") }
	erlang := func(i byte, endpoint string) Contact { return erlangContact(ID{0x80, i}, endpoint) }
	far := func(endpoint string) Contact { return erlangContact(ID{1}, endpoint) }
	add := func(contacts ...Contact) func(*Table) {
		return func(table *Table) {
			for _, c := range contacts {
				_ = table.Add(c)
			}
		}
	}
	remove := func(id ID) func(*Table) { return func(table *Table) { table.Remove(id) } }
	const a, b, private = "https://8.8.8.8:1", "https://8.8.4.4:1", "https://10.0.0.1:1"
	tests := map[string]struct {
		steps []func(*Table)
		want  []Contact
	}{
		"who came last is first": {[]func(*Table){add(peer(0), peer(1), peer(2)), remove(ID{0x80, 0})}, []Contact{peer(2)}},
		"who came again is last": {[]func(*Table){add(peer(0), peer(1), peer(2), peer(1)), remove(ID{0x80, 0})}, []Contact{peer(1)}},
		"all enter in the end": {[]func(*Table){add(peer(0), peer(1), peer(2)), remove(ID{0x80, 0}), remove(ID{0x80, 2})},
			[]Contact{peer(1)}},
		"once": {[]func(*Table){add(peer(0), peer(1)), remove(ID{0x80, 0}), remove(ID{0x80, 1})}, []Contact{}},
		"who is forgotten does not": {[]func(*Table){add(peer(0), peer(1)), remove(ID{0x80, 1}), remove(ID{0x80, 0})},
			[]Contact{}},
		"who is unverified does not": {[]func(*Table){add(peer(0), Contact{ID: ID{0x80, 1}, Peer: "p"}), remove(ID{0x80, 0})},
			[]Contact{}},
		"nor our own id": {[]func(*Table){add(peer(0), peer(1)), remove(ID{}), remove(ID{0x80, 0})}, []Contact{peer(1)}},
		"an endpoint that has moved on is not taken back": {
			[]func(*Table){add(peer(0), erlang(1, private), far(private)), remove(ID{0x80, 0})}, []Contact{far(private)}},
		"one endpoint enters once": {
			[]func(*Table){add(peer(0), erlang(1, private), erlang(2, private)), remove(ID{0x80, 0}), remove(ID{0x80, 2})},
			[]Contact{erlang(1, private)}},
		"the place of an endpoint that moves is filled": {
			[]func(*Table){add(erlang(0, private), peer(1), far(private))}, []Contact{peer(1), far(private)}},
		"who is one too many of its network is passed over": {
			[]func(*Table){add(peer(0), erlang(1, a), peer(2), erlang(3, a)), func(table *Table) { table.limits.PerTable = 0 }, remove(ID{0x80, 0})},
			[]Contact{peer(2)}},
		"another network is not": {
			[]func(*Table){add(peer(0), erlang(1, a), erlang(3, b)), remove(ID{0x80, 0})}, []Contact{erlang(3, b)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := NewTable(ID{}, 1)
			for _, step := range tt.steps {
				step(table)
			}
			require.Equal(t, tt.want, ungrouped(table.All()))
		})
	}
}

func TestWaitingIsBounded(t *testing.T) {
	libp2p := func(i int) Contact { return libp2pContact(ID{0x80, byte(i)}, "p") }
	erlang := func(endpoint string) func(int) Contact {
		return func(i int) Contact { return erlangContact(ID{0x81, byte(i)}, fmt.Sprintf(endpoint, i)) }
	}
	tests := map[string]struct {
		flood func(i int) Contact
		want  int // of the flood
	}{
		"libp2p contacts":         {libp2p, MaxReplacements},
		"of one public network":   {erlang("https://8.8.8.%d:1"), diversity.DefaultPerBucket},
		"of one IPv6 network":     {erlang("https://[2a00:1450:4001:%x::1]:1"), diversity.DefaultPerBucket},
		"of many public networks": {erlang("https://8.8.%d.8:1"), MaxReplacements},
		"of a private network":    {erlang("https://10.0.0.%d:1"), MaxReplacements},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := NewTable(ID{}, 1)
			require.NoError(t, table.Add(libp2pContact(ID{0xff}, "p")))
			honest := libp2pContact(ID{0xfe}, "p")
			require.ErrorIs(t, table.Add(honest), ErrBucketFull)
			for i := range 100 {
				require.ErrorIs(t, table.Add(tt.flood(1+i)), ErrBucketFull)
			}
			_, waiting := table.LeastRecentlySeen(0)
			want := []ID{}
			for i := range tt.want {
				want = append(want, tt.flood(100-i).ID)
			}
			if tt.want < MaxReplacements {
				want = append(want, honest.ID)
			}
			require.Equal(t, want, ids(waiting))
		})
	}
}
