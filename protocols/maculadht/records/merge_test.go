package records

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAppendMerged(t *testing.T) {
	now := time.Now()
	rec := func(id, value string, life time.Duration) Record {
		return Record{NodeID: []byte(id), Value: []byte(value), Expires: now.Add(life)}
	}
	direct := func(r Record) Record { r.Direct = true; return r }
	const long = 24 * time.Hour
	tests := map[string]struct {
		here, elsewhere []Record
		want            []string
	}{
		"nothing elsewhere":     {[]Record{rec("a", "1", long)}, nil, nil},
		"nothing new elsewhere": {[]Record{rec("a", "1", long)}, []Record{rec("a", "2", time.Minute)}, nil},
		"nothing here":          {nil, []Record{rec("a", "1", long)}, []string{"1"}},
		"one more":              {[]Record{rec("a", "1", long)}, []Record{rec("b", "2", long)}, []string{"1", "2"}},
		"a fresher one":         {[]Record{rec("a", "1", time.Minute), rec("b", "2", long)}, []Record{rec("a", "3", long)}, []string{"3", "2"}},
		"one that has ended":    {[]Record{rec("a", "1", long)}, []Record{rec("b", "2", -time.Second)}, nil},
		"a longer life of who is here itself": {
			[]Record{direct(rec("a", "1", time.Minute)), rec("b", "2", long)},
			[]Record{rec("a", "3", long), rec("c", "4", long)},
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
				got := AppendMerged(nil, tt.here, elsewhere)
				require.Len(t, got, len(tt.want))
				for i := range got {
					require.Equal(t, tt.want[i], string(got[i].Value))
				}
			})
		}
	}
}
