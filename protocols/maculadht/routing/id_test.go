package routing

import (
	"bytes"
	"crypto/sha256"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
)

func TestIDFromBytes(t *testing.T) {
	raw := bytes.Repeat([]byte{0xab}, 32)
	require.Equal(t, ID(raw), IDFromBytes(raw), "32 bytes are used as they are")

	for name, b := range map[string][]byte{
		"nil": nil, "31 bytes": raw[:31], "33 bytes": append(raw[:32:32], 1), "hex text": []byte(strings.Repeat("ab", 32)),
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, ID(sha256.Sum256(b)), IDFromBytes(b))
		})
	}
}

func TestIDFromPeerAlwaysHashes(t *testing.T) {
	p := peer.ID(strings.Repeat("p", 32))
	require.Equal(t, ID(sha256.Sum256([]byte(p))), IDFromPeer(p))
}

func TestIDString(t *testing.T) {
	require.Equal(t, "0f"+strings.Repeat("00", 30)+"a0", ID{0: 0x0f, 31: 0xa0}.String())
}

func TestCommonPrefixLen(t *testing.T) {
	rng := newRand(1)
	for cpl := range IDBits {
		self := randomID(rng)
		require.Equal(t, cpl, self.CommonPrefixLen(idAt(rng, self, cpl)))
	}
	id := randomID(rng)
	require.Equal(t, 256, id.CommonPrefixLen(id))
}

func TestCompareDistanceSorts(t *testing.T) {
	rng := newRand(2)
	target, all := randomID(rng), make([]ID, 200)
	for i := range all {
		all[i] = randomID(rng)
	}
	all = append(all, target)
	slices.SortFunc(all, target.CompareDistance)
	require.Equal(t, target, all[0])
	for i := 1; i < len(all); i++ {
		require.True(t, target.Closer(all[i-1], all[i]))
		require.False(t, target.Closer(all[i], all[i-1]))
	}
	require.False(t, target.Closer(all[3], all[3]))
}

// FuzzID checks the metric against arithmetic on big integers.
func FuzzID(f *testing.F) {
	f.Add([]byte(nil), []byte("a"), bytes.Repeat([]byte{0xff}, 32))
	f.Add(make([]byte, 32), append(make([]byte, 31), 1), []byte("c"))
	f.Fuzz(func(t *testing.T, ab, bb, cb []byte) {
		a, b, c := IDFromBytes(ab), IDFromBytes(bb), IDFromBytes(cb)
		distance := func(x, y ID) *big.Int {
			return new(big.Int).Xor(new(big.Int).SetBytes(x[:]), new(big.Int).SetBytes(y[:]))
		}
		d := a.Distance(b)
		require.Zero(t, new(big.Int).SetBytes(d[:]).Cmp(distance(a, b)))
		require.Equal(t, d, b.Distance(a))
		require.Equal(t, IDBits-distance(a, b).BitLen(), a.CommonPrefixLen(b))
		require.Equal(t, distance(a, b).Cmp(distance(a, c)), a.CompareDistance(b, c))
	})
}
