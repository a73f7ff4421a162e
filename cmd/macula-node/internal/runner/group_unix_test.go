//go:build unix

package runner

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/api/schema"
)

// What a command has begun ends with it: else callers could have a machine filled.
func TestNothingIsLeftBehind(t *testing.T) {
	for name, test := range map[string]struct{ command, result, code string }{
		"of one that is done":             {`echo '{"n":1}'`, `{"n":1}`, ""},
		"of one whose output it has open": {`echo 2; exit 0`, "2", ""},
		"of one that fails":               {`echo no >&2; exit 3`, "", "handler_error"},
		"of one whose time is over":       {"sleep 100", "", "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alive := filepath.Join(t.TempDir(), "alive")
			left := `(while :; do echo x >>` + alive + `; sleep 0.02; done)`
			if test.result != "2" {
				left += " >&- 2>&-"
			}
			got := Run(t.Context(), 500*time.Millisecond, []string{"sh", "-c", left + " & " + test.command}, []byte("{}"))
			if test.code == "" {
				require.Nil(t, got.Error)
				require.Equal(t, test.result, text(t, got.Result))
			} else {
				require.NotNil(t, got.Error)
				require.Equal(t, test.code, got.Error.Code)
			}
			size := func() int64 {
				info, err := os.Stat(alive)
				if err != nil {
					return 0 // it was killed before it began
				}
				return info.Size()
			}
			require.Eventually(t, func() bool {
				before := size()
				time.Sleep(200 * time.Millisecond)
				return size() == before
			}, 10*time.Second, time.Millisecond)
		})
	}
}

func text(t *testing.T, v schema.Value) string {
	t.Helper()
	text, err := v.MarshalJSON()
	require.NoError(t, err)
	return string(text)
}
