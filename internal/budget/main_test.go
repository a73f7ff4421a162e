package budget_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/budget"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var _ framing.Memory = (*budget.Account)(nil)

// open returns an account that is closed when the test ends.
func open(t testing.TB, b *budget.Budget, who budget.Source) *budget.Account {
	a := b.Open(who)
	t.Cleanup(a.Close)
	return a
}

func newBudget(t testing.TB, limits budget.Limits) *budget.Budget {
	b, err := budget.New(limits)
	require.NoError(t, err)
	return b
}

// frames returns the default limits but for those of frames.
func frames(limit rate.Limit, burst int, groupLimit rate.Limit, groupBurst int) budget.Limits {
	l := budget.DefaultLimits()
	l.Source.FrameRate, l.Source.FrameBurst = limit, burst
	l.Group.FrameRate, l.Group.FrameBurst = groupLimit, groupBurst
	return l
}

// allowed returns how many of n frames were allowed, one at a time.
func allowed(a *budget.Account, n int) (yes int) {
	for range n {
		if a.AllowFrames(1) {
			yes++
		}
	}
	return yes
}

// Two sources of one group, one of another, and one of none.
var (
	alice = budget.Source{Name: "192.0.2.1", Group: "192.0.2.0/24"}
	bob   = budget.Source{Name: "192.0.2.2", Group: "192.0.2.0/24"}
	carol = budget.Source{Name: "198.51.100.1", Group: "198.51.100.0/24"}
	local = budget.Source{Name: "127.0.0.1"}
)
