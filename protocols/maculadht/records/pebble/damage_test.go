package pebble

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
)

var allHarms = flag.Bool("harms", false, "do each harm to each file of a store, and not a quarter of them")

// harms are what may become of a file of a store while nobody has it open.
var harms = map[string]func(b []byte, rng *rand.Rand) (harmed []byte, gone bool){
	"removed":        func([]byte, *rand.Rand) ([]byte, bool) { return nil, true },
	"cut to half":    func(b []byte, _ *rand.Rand) ([]byte, bool) { return b[:len(b)/2], false },
	"cut to zero":    func([]byte, *rand.Rand) ([]byte, bool) { return nil, false },
	"a bit anywhere": func(b []byte, rng *rand.Rand) ([]byte, bool) { return flipped(b, rng.IntN(max(1, len(b)))), false },
	"a bit in front": func(b []byte, rng *rand.Rand) ([]byte, bool) {
		return flipped(b, rng.IntN(max(1, min(100, len(b))))), false
	},
	"a bit at the end": func(b []byte, rng *rand.Rand) ([]byte, bool) {
		return flipped(b, len(b)-1-rng.IntN(max(1, min(100, len(b))))), false
	},
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	if len(b) > 0 {
		b[at] ^= 1 << (at % 8)
	}
	return b
}

// A single file of a store that is removed, cut off or changed while the store is not open
// takes nothing away in silence: the store is refused with the advice, or has all.
func TestDamagedFiles(t *testing.T) {
	live := filepath.Join(t.TempDir(), "live")
	s := open(t, live, often)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	want := held{}
	value := make([]byte, 50_000)
	for i := range 180 { // some tables, and logs that were used again
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		key := fmt.Sprint("k", i)
		require.NoError(t, set(s, key, records.Synced, rec(string(value), time.Hour)))
		want[key] = []string{string(value)}
	}
	for i := range 20 {
		key := fmt.Sprint("small", i)
		require.NoError(t, set(s, key, records.Synced, rec("v", time.Hour)))
		want[key] = []string{"v"}
	}
	time.Sleep(50 * time.Millisecond)
	dirs := map[string]string{"killed": killed(t, live)}
	require.NoError(t, s.Close())
	dirs["closed"] = live

	refused, whole := 0, 0
	for name, dir := range dirs {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			for harm, do := range harms {
				if !*allHarms && rng.IntN(4) > 0 {
					continue
				}
				t.Run(fmt.Sprint(name, "/", e.Name(), "/", harm), func(t *testing.T) {
					again := filepath.Join(t.TempDir(), "again")
					require.NoError(t, os.Mkdir(again, 0o700))
					for _, other := range entries {
						from, to := filepath.Join(dir, other.Name()), filepath.Join(again, other.Name())
						if other == e {
							b, err := os.ReadFile(from)
							require.NoError(t, err)
							if b, gone := do(b, rng); !gone {
								require.NoError(t, os.WriteFile(to, b, 0o600))
							}
						} else if strings.HasSuffix(from, ".sst") {
							require.NoError(t, os.Link(from, to))
						} else {
							b, err := os.ReadFile(from)
							require.NoError(t, err)
							require.NoError(t, os.WriteFile(to, b, 0o600))
						}
					}
					s, err := Open(again, us)
					if err != nil {
						require.ErrorContains(t, err, again)
						named, _, _ := strings.Cut(e.Name(), ".") // of Pebble's markers all is in the name
						if named == "marker" {
							named = "pebble: database"
						}
						require.ErrorContains(t, err, named)
						require.ErrorContains(t, err, "put a backup in its place")
						refused++
						require.NotContains(t, err.Error(), "\n")
						return
					}
					defer s.Close()
					want.require(t, s)
					whole++
				})
			}
		}
	}
	t.Logf("%d refused, %d that had all", refused, whole)
	if *allHarms {
		require.Greater(t, refused, 60, "of files with something in them")
	}
}
