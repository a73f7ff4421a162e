package upkeep

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
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
	after = routingtest.After
	never = routingtest.Never
	value = routingtest.Value
	ids   = routingtest.IDs
)

// lookups returns lookups in a script.
func lookups(s *script, opts ...lookup.Option) *lookup.Lookups {
	l, err := lookup.New(s.Server, s, opts...)
	require.NoError(s.T, err)
	return l
}

// drawn says of which of the holders that are not nearest to a key hand it over.
func drawn(all bool) Option {
	return func(c *config) error { c.isDrawn = func() bool { return all }; return nil }
}

// startUpkeep starts an upkeep in a script, which is not drawn to hand anything over.
func startUpkeep(s *script, opts ...Option) *Upkeep {
	u, err := New(lookups(s), append([]Option{drawn(false)}, opts...)...)
	require.NoError(s.T, err)
	return u
}
