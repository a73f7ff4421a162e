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

// startUpkeep starts an upkeep in a script.
func startUpkeep(s *script, opts ...Option) *Upkeep {
	u, err := New(lookups(s), opts...)
	require.NoError(s.T, err)
	return u
}
