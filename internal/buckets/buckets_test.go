package buckets

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, each = 5, time.Second
		b := New(1<<16, most, each)
		one, other := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")
		taken := func(of netip.Prefix) (n int) {
			for b.Take(of, time.Now()) {
				n++
			}
			return n
		}
		require.Equal(t, most, taken(one), "all at once")
		require.Equal(t, most, taken(other), "each has its own")
		time.Sleep(each - 1)
		require.Zero(t, taken(one))
		time.Sleep(time.Nanosecond)
		require.Equal(t, 1, taken(one), "one each time")
		time.Sleep(time.Hour)
		require.Equal(t, most, taken(one), "never more than there is room for")
		b.Give(one)
		require.Equal(t, 1, taken(one))
	})
}

// However many networks there are, they share the memory that there is.
func TestMemoryIsFixed(t *testing.T) {
	b := New(8, 1, time.Hour)
	now, taken := time.Now(), 0
	for i := range 1000 {
		if b.Take(netip.PrefixFrom(netip.AddrFrom4([4]byte{1, byte(i >> 8), byte(i), 0}), 24), now) {
			taken++
		}
	}
	require.Equal(t, 8, taken)
	require.Len(t, b.full, 8)
}
