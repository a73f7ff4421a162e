package problems

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A clock is doubted where enough peers say that it is wrong by more than half of what is borne.
func TestClock(t *testing.T) {
	for name, test := range map[string]struct {
		ahead  time.Duration
		voices int
		want   string
	}{
		"right":    {time.Second, 20, ""},
		"too few":  {time.Hour, 2, ""},
		"borne":    {-5 * time.Minute, 20, ""},
		"ahead":    {6 * time.Minute, 3, "is 6m0s ahead of those of most of the 3 peers"},
		"behind":   {-time.Hour, 3, "is 1h0m0s behind those of most of the 3 peers"},
		"no peers": {0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			why := Clock(test.ahead, test.voices)
			if test.want == "" {
				require.Empty(t, why)
				return
			}
			require.Contains(t, why, test.want)
			require.Contains(t, why, "set it")
		})
	}
}
