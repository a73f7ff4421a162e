package wire

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimesOfPeers(t *testing.T) {
	const most = time.Duration(math.MaxInt64/int64(time.Second)) * time.Second
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	tests := map[string]struct {
		n       int64
		seconds time.Duration
		atMilli time.Time
		at      time.Time
	}{
		"none":                        {0, 0, time.Unix(0, 0), time.Unix(0, 0)},
		"one":                         {1, time.Second, time.UnixMilli(1), time.Unix(1, 0)},
		"now in ms":                   {1_700_000_000_123, most, time.UnixMilli(1_700_000_000_123), last},
		"now":                         {1_700_000_000, 1_700_000_000 * time.Second, time.UnixMilli(1_700_000_000), time.Unix(1_700_000_000, 0)},
		"the most of a duration":      {9_223_372_036, most, time.UnixMilli(9_223_372_036), time.Unix(9_223_372_036, 0)},
		"more":                        {9_223_372_037, most, time.UnixMilli(9_223_372_037), time.Unix(9_223_372_037, 0)},
		"less than none":              {-1, -time.Second, time.Unix(0, 0), time.Unix(0, 0)},
		"so little that it turns":     {-9_223_372_037, -most, time.Unix(0, 0), time.Unix(0, 0)},
		"the most":                    {math.MaxInt64, most, last.Add(999 * time.Millisecond), last},
		"the least":                   {math.MinInt64, -most, time.Unix(0, 0), time.Unix(0, 0)},
		"beyond the year 9999 in sec": {253_402_300_800, most, time.UnixMilli(253_402_300_800), last},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.seconds, Seconds(tt.n))
			require.True(t, tt.atMilli.Equal(TimeOfMilli(tt.n)), TimeOfMilli(tt.n))
			require.True(t, tt.at.Equal(TimeOfSeconds(tt.n)), TimeOfSeconds(tt.n))
			for _, at := range []time.Time{TimeOfMilli(tt.n), TimeOfSeconds(tt.n)} {
				_, err := json.Marshal(at.UTC())
				require.NoError(t, err)
			}
		})
	}
}
