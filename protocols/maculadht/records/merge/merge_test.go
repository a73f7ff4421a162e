package merge

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

func TestAppend(t *testing.T) {
	now := time.Now()
	rec := func(id, value string, life time.Duration) records.Record {
		return records.Record{NodeID: []byte(id), Value: []byte(value), Expires: now.Add(life)}
	}
	direct := func(r records.Record) records.Record { r.Direct = true; return r }
	const long = 24 * time.Hour
	tests := map[string]struct {
		here, elsewhere []records.Record
		want            []string
	}{
		"nothing elsewhere":     {[]records.Record{rec("a", "1", long)}, nil, nil},
		"nothing new elsewhere": {[]records.Record{rec("a", "1", long)}, []records.Record{rec("a", "2", time.Minute)}, nil},
		"nothing here":          {nil, []records.Record{rec("a", "1", long)}, []string{"1"}},
		"one more":              {[]records.Record{rec("a", "1", long)}, []records.Record{rec("b", "2", long)}, []string{"1", "2"}},
		"a fresher one":         {[]records.Record{rec("a", "1", time.Minute), rec("b", "2", long)}, []records.Record{rec("a", "3", long)}, []string{"3", "2"}},
		"one that has ended":    {[]records.Record{rec("a", "1", long)}, []records.Record{rec("b", "2", -time.Second)}, nil},
		"a longer life of who is here itself": {
			[]records.Record{direct(rec("a", "1", time.Minute)), rec("b", "2", long)},
			[]records.Record{rec("a", "3", long), rec("c", "4", long)},
			[]string{"1", "2", "4"},
		},
	}
	for name, tt := range tests {
		for _, many := range []int{0, 300} { // are found by a map
			t.Run(fmt.Sprintf("%s, %d others", name, many), func(t *testing.T) {
				elsewhere := tt.elsewhere
				for i := range many {
					elsewhere = append(elsewhere, rec(fmt.Sprint("other ", i), "", -time.Second))
				}
				got := Append(nil, tt.here, elsewhere)
				require.Len(t, got, len(tt.want))
				for i := range got {
					require.Equal(t, tt.want[i], string(got[i].Value))
				}
			})
		}
	}
}
