package journal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Which logs may be missing, by what is noted.
func TestMissingLogs(t *testing.T) {
	for name, test := range map[string]struct {
		note    string
		there   []string
		missing string
	}{
		"none is noted":              {"", []string{"000003.log"}, ""},
		"all are there":              {"SYNCED_7_000003.log=9_000004.log=0", []string{"000003.log", "000004.log"}, ""},
		"the newest is gone":         {"SYNCED_7_000003.log=9_000004.log=0", []string{"000003.log"}, "000004.log"},
		"an older one is gone":       {"SYNCED_7_000003.log=9_000004.log=0", []string{"000004.log"}, "000003.log"},
		"the oldest was used again":  {"SYNCED_7_000003.log=9_000004.log=0", []string{"000004.log", "000005.log"}, ""},
		"a later one was used again": {"SYNCED_7_000003.log=0_000004.log=9_000005.log=0", []string{"000003.log", "000005.log", "000006.log"}, ""},
		"of more digits":             {"SYNCED_7_999998.log=9_1000000.log=0", []string{"1000000.log", "1000003.log"}, ""},
		"two are gone, one is new":   {"SYNCED_7_000003.log=9_000004.log=0", []string{"000005.log"}, "000004.log"},
		"an older note is there too": {"SYNCED_7_000004.log=0 SYNCED_6_000003.log=9", []string{"000004.log"}, ""},
		"no note":                    {"SYNCED_x_000003.log=9 SYNCED_8_000003.log SYNCED", []string{"000004.log"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			noted := lastNote(strings.Fields(test.note))
			there := map[string]bool{}
			newest := uint64(0)
			for _, name := range test.there {
				n, _ := numberOf(name)
				there[name], newest = true, max(newest, n)
			}
			require.Equal(t, test.missing, noted.missing(there, newest))
		})
	}
}

// A note says the same when it is read, and fits a name.
func TestNote(t *testing.T) {
	n := note{number: 1 << 40, synced: map[string]int64{"MANIFEST-000017": 1 << 40}}
	for i := range 20 {
		n.synced[fmt.Sprintf("%06d.log", 900_000+i)] = 1 << 40
	}
	name := n.name()
	require.LessOrEqual(t, len(name), 255)
	got, ok := parseNote(name)
	require.True(t, ok)
	require.Equal(t, n.number, got.number)
	require.Len(t, got.synced, notedFiles)
	for name, synced := range got.synced {
		require.Equal(t, n.synced[name], synced)
	}
	require.Contains(t, got.synced, "900019.log", "the newest are noted")
}
