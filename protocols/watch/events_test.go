package watch

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

// What is gone when its life is all but over has expired: copies of a record differ by
// as much.
func TestExpiredOrWithdrawn(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		left time.Duration
		all  bool // was asked
		want []Kind
	}{
		"long before its end":            {time.Minute, true, []Kind{Withdrawn}},
		"just before its end":            {time.Second, true, []Kind{Expired}},
		"after its end":                  {-time.Second, true, []Kind{Expired}},
		"after its end, and not all are": {-time.Second, false, []Kind{Expired}},
		"before its end, and not all":    {time.Second, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := view{known: []lookup.FoundValue{{Expires: now.Add(test.left)}}}
			var got []Kind
			for _, e := range v.events(nil, test.all, now) {
				got = append(got, e.Kind)
			}
			require.Equal(t, test.want, got)
		})
	}
}
