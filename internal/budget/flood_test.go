package budget_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/budget"
)

// address returns the i-th address whose /48, or whose /64 in one /48, no other
// has.
func address(i int, bits int) netip.Addr {
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	switch bits {
	case 48:
		binary.BigEndian.PutUint32(b[2:], uint32(i)+0x0db80000)
	default:
		// after 65,536 the walk begins again, long after that /64 was forgotten
		binary.BigEndian.PutUint16(b[6:], uint16(i))
		binary.BigEndian.PutUint64(b[8:], uint64(i))
	}
	return netip.AddrFrom16(b)
}

// Whoever has a /48 changes the address with each connection and spends what it
// gives: it has the frames of one group, and costs the memory of Remember
// sources.
func TestWalkingFlood(t *testing.T) {
	const (
		all64s  = 1 << 16 // that a /48 has
		many48s = 1 << 18
	)
	limits := budget.DefaultLimits()
	key := make([]byte, 36)
	copy(key, "\x00\x24\x08\x01\x12\x20")
	tests := map[string]struct {
		walkers    int
		source     func(i int) budget.Source
		each       int // frames that each asks for
		maxSources int
		maxGroups  int
		frames     int // allowed in all
	}{
		"/64s of one /48": {
			2 * all64s,
			func(i int) budget.Source { return budget.SourceOfAddr(address(i, 64)) },
			10, limits.Remember, 1, limits.Group.FrameBurst,
		},
		"peer ids of one /48": {
			2 * all64s,
			func(i int) budget.Source {
				binary.BigEndian.PutUint32(key[6:], uint32(i))
				return budget.SourceOfPeer(peer.ID(key), address(i, 64))
			},
			10, limits.Remember, 1, limits.Group.FrameBurst,
		},
		"/48s": {
			many48s,
			func(i int) budget.Source { return budget.SourceOfAddr(address(i, 48)) },
			1, limits.Remember, limits.Remember, many48s,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // no time passes, so no frame comes back
				b := newBudget(t, limits)
				allowed, peak := 0, budget.Totals{}
				for i := range tt.walkers {
					a := b.Open(tt.source(i))
					if a.AllowFrames(tt.each) {
						allowed += tt.each
					}
					a.Close()
					if i%1000 == 0 {
						now := b.Usage()
						peak.Sources, peak.Groups = max(peak.Sources, now.Sources), max(peak.Groups, now.Groups)
					}
				}
				require.LessOrEqual(t, peak.Sources, tt.maxSources)
				require.LessOrEqual(t, peak.Groups, tt.maxGroups)
				require.Equal(t, tt.frames, allowed)
				require.Equal(t, budget.Usage{}, b.Usage().Usage)
			})
		})
	}
}

// A group that spent all can't make us forget that by showing other sources.
func TestWalkingDoesNotRefillTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := frames(1, 100, 1, 400)
		limits.Remember = 16
		b := newBudget(t, limits)
		total := 0
		for i := range 10_000 {
			a := b.Open(budget.SourceOfAddr(address(i, 64)))
			total += allowed(a, 10)
			a.Close()
		}
		require.Equal(t, 400, total)
	})
}

// The worst case that entryBytes is about: each source and each group another,
// some open, as many remembered as may be.
func TestWorstCaseOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where nobody recovers meanwhile, however slow the machine
		limits := budget.DefaultLimits()
		const connected = 4096
		entries := 2 * (connected + limits.Remember)
		var accounts []*budget.Account
		key := make([]byte, 36)
		copy(key, "\x00\x24\x08\x01\x12\x20")
		var b *budget.Budget
		spent := heap(func() {
			b = newBudget(t, limits)
			accounts = make([]*budget.Account, 0, connected)
			for i := range connected + 10*limits.Remember {
				binary.BigEndian.PutUint32(key[6:], uint32(i))
				a := b.Open(budget.SourceOfPeer(peer.ID(key), address(i, 48)))
				if i < connected {
					accounts = append(accounts, a)
					continue
				}
				require.True(t, a.AllowFrames(limits.Source.FrameBurst))
				a.Close()
			}
		})
		usage := b.Usage()
		require.Equal(t, entries, usage.Sources+usage.Groups)
		t.Logf("%d bytes an entry", spent/uint64(entries))
		require.Less(t, spent, uint64(entries*budget.EntryBytes))
		runtime.KeepAlive(accounts)
	})
}

// heap returns what f leaves on the heap, in bytes.
func heap(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}
