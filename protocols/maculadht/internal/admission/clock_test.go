package admission

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"
)

func TestClockAhead(t *testing.T) {
	here, near, far := netip.Prefix{}, netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")
	type told struct {
		ahead time.Duration // our clock of theirs
		group netip.Prefix
	}
	for name, test := range map[string]struct {
		told   []told
		ahead  time.Duration
		voices int
	}{
		"nobody":                  {},
		"one":                     {[]told{{time.Hour, here}}, time.Hour, 1},
		"most agree":              {[]told{{0, here}, {-time.Hour, here}, {time.Second, here}}, 0, 3},
		"behind":                  {[]told{{-time.Hour, here}, {-time.Hour, here}, {0, here}}, -time.Hour, 3},
		"one group has one voice": {[]told{{0, far}, {time.Hour, near}, {time.Hour, near}, {time.Hour, near}, {0, here}}, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &Admission{sessions: map[peer.ID]*session{"told nothing": {}}}
				now := time.Now()
				for i, c := range test.told {
					a.sessions[peer.ID(rune('a'+i))] = &session{clock: clock{showed: now.Round(0).Add(-c.ahead), at: now, group: c.group}}
				}
				time.Sleep(time.Minute) // theirs go on as ours does
				ahead, voices := a.ClockAhead()
				require.Equal(t, test.ahead, ahead)
				require.Equal(t, test.voices, voices)
			})
		})
	}
}
