package lookup

import (
	"cmp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// The words of a script.
type (
	script = routingtest.Script
	reply  = routingtest.Reply
)

var (
	play  = routingtest.Play
	names = routingtest.Names
	says  = routingtest.Says
	has   = routingtest.Has
	after = routingtest.After
	never = routingtest.Never
	value = routingtest.Value
	ids   = routingtest.IDs
)

// lookups returns lookups in a script, which ask the nearest first for values too.
func lookups(s *script, opts ...Option) *Lookups {
	l, err := New(s.Server, s, append(opts[:len(opts):len(opts)], WithDraw(routingtest.NearestFirst))...)
	require.NoError(s.T, err)
	return l
}

func providers(values []FoundValue) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = cmp.Or(string(v.NodeID), string(v.Raw))
	}
	return out
}
