package glass_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// hazard is what was sent to the reference, a frame a stream, and whether its
// gateway died of it.
type hazard struct {
	Name    string   `json:"name"`
	Frames  []string `json:"frames_hex"`
	Crashes []string `json:"crashes"`
	Reply   string   `json:"reply_prefix_hex"`
}

// TestHazards: the double dies of the inputs that killed the reference's
// gateway, and of no other.
func TestHazards(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/live-hazards.json")
	require.NoError(t, err)
	var recorded struct{ Cases []hazard }
	require.NoError(t, json.Unmarshal(text, &recorded))
	require.Len(t, recorded.Cases, 28)
	died := 0
	for _, h := range recorded.Cases {
		t.Run(h.Name, func(t *testing.T) {
			g := start(t)
			g.Store([]byte("kept"), provider("own"))
			c := dial(t, g)
			var last *talk
			for i, digits := range h.Frames {
				last = c.open()
				last.send(unhex(t, digits))
				eventually(t, func() bool { return g.Stats().Total() == 2*i+1 }, "it came")
				c.ask(&wire.Ping{}) // is answered behind it
			}
			if len(h.Crashes) == 0 {
				require.Empty(t, g.Broken())
			} else {
				died++
				require.Equal(t, []string{"macula_gateway"}, h.Crashes)
				require.Len(t, g.Broken(), 1)
				require.Equal(t, glass.GatewayCrash, g.Broken()[0].Kind)
				require.NotEmpty(t, g.Broken()[0].Why)
			}
			require.Len(t, g.Stored([]byte("kept")), 1, "the records live on")
			if h.Reply != "" {
				f, err := last.next()
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(sorted(t, made(f.Type, f.Payload)), h.Reply))
			} else {
				requireNothing(t, last)
			}
		})
	}
	require.Equal(t, 14, died)
}
