package dials

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// dial dials an address, if it may, and reports whether it did.
func dial(l *Limiter, to netip.AddrPort, came Outcome) error {
	err := l.Begin(to)
	if err == nil {
		l.End(to, came)
	}
	return err
}

func TestDeadAddressRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		dead := addr("8.8.8.8:1")
		require.NoError(t, dial(l, dead, Silent))
		require.NoError(t, dial(l, dead, Silent), "once may be an accident")
		for rest := FirstRest; rest < 4*MaxRest; rest *= 2 {
			rest := min(rest, MaxRest)
			require.ErrorIs(t, dial(l, dead, Silent), ErrDead)
			require.NoError(t, dial(l, addr("8.8.8.8:2"), Reached), "another port is another address")
			time.Sleep(rest - 1)
			require.ErrorIs(t, dial(l, dead, Silent), ErrDead)
			time.Sleep(time.Nanosecond)
			require.NoError(t, dial(l, dead, Silent))
		}
		for _, came := range []Outcome{Answered, Reached} {
			time.Sleep(MaxRest)
			require.NoError(t, dial(l, dead, came))
			require.NoError(t, dial(l, dead, Silent), "it lives")
			require.NoError(t, dial(l, dead, Silent))
		}
		time.Sleep(MaxRest)
		require.NoError(t, dial(l, dead, GivenUp))
		require.NoError(t, dial(l, dead, GivenUp))
		require.NoError(t, dial(l, dead, GivenUp), "that it was not waited for says nothing of it")
	})
}

// A machine that does not answer is dialled a few times and then now and again, under
// however many ports and names; one that does as often as anybody likes.
func TestBudgets(t *testing.T) {
	for name, tt := range map[string]struct {
		addr     string // with a number in it
		came     Outcome
		at1, inH int // how many at once, and within an hour
	}{
		"ports of one address":          {"8.8.8.8:%d", Silent, PerIP, PerIP + int(time.Hour/IPPause)},
		"that another one answers at":   {"8.8.8.8:%d", Answered, PerIP, PerIP + int(time.Hour/IPPause)},
		"those that are not waited for": {"8.8.8.8:%d", GivenUp, PerIP, PerIP + int(time.Hour/IPPause)},
		"ports where it is":             {"8.8.8.8:%d", Reached, 1000, 1000},
		"those that are not dialled":    {"8.8.8.8:%d", NotDialled, 1000, 1000},
		"IPv4 in IPv6":                  {"[::ffff:8.8.8.8]:%d", Silent, PerIP, PerIP + int(time.Hour/IPPause)},
		"a private one":                 {"10.0.0.1:%d", Silent, 1000, 1000},
		"loopback":                      {"127.0.0.1:%d", Silent, 1000, 1000},
		"addresses of a /48":            {"[2a00:1450:4001::%x]:1", Silent, PerGroup, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New()
				dialled := 0
				for i := range 1000 {
					if err := dial(l, addr(fmt.Sprintf(tt.addr, 1+i)), tt.came); err == nil {
						dialled++
					} else {
						require.ErrorIs(t, err, ErrTooOften)
					}
				}
				require.LessOrEqual(t, dialled, tt.at1)
				require.GreaterOrEqual(t, dialled, tt.at1*9/10, "but for those that share a place")
				for i := 1000; i < 4600; i++ {
					time.Sleep(time.Second)
					if dialled < tt.inH && dial(l, addr(fmt.Sprintf(tt.addr, 1+i)), tt.came) == nil {
						dialled++
					}
				}
				require.GreaterOrEqual(t, dialled, tt.inH*9/10)
				require.NoError(t, dial(l, addr("9.9.9.9:1"), Silent), "others are not held up")
			})
		})
	}
}

func TestMemoryIsFixed(t *testing.T) {
	const buckets = (4096 + 1024) * unsafe.Sizeof(time.Time{})
	require.Less(t, unsafe.Sizeof(Limiter{})+buckets, uintptr(300<<10))
}
