package backlog_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/backlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// flooder is the nth source of an IP group that floods.
func flooder(n int) fair.Payer {
	return fair.Payer{Source: budget.Source{Name: fmt.Sprint(n), Group: "flood"}}
}

var honest = fair.Payer{Source: budget.Source{Name: "honest", Group: "other"}}

// floods are one source, and several of one group.
var floods = map[string]func(i int) fair.Payer{
	"one source":         func(int) fair.Payer { return flooder(0) },
	"a group of sources": func(i int) fair.Payer { return flooder(i % 50) },
}

func TestQueue(t *testing.T) {
	for name, by := range floods {
		t.Run(name, func(t *testing.T) {
			var q backlog.Queue[string]
			require.Empty(t, q.Push(honest, "first", 1, 100, 10_000))
			var dropped []string
			for i := range 1000 {
				dropped = append(dropped, q.Push(by(i), "flood", 1, 100, 10_000)...)
			}
			require.Len(t, q.Push(flooder(0), "", 0, 100, 10_000), 1, "one makes room for one")
			dropped = append(dropped, q.Push(honest, "second", 1, 100, 10_000)...)
			require.Len(t, dropped, 902)
			require.NotContains(t, dropped, "first")
			require.Equal(t, 100, q.Len())
			var at []int
			for i := range 100 {
				m, ok := q.Pop()
				require.True(t, ok)
				if m == "first" || m == "second" {
					at = append(at, i)
				}
			}
			require.Len(t, at, 2)
			require.LessOrEqual(t, at[1], 3, "in turn")
			_, ok := q.Pop()
			require.False(t, ok)
		})
	}
}

func TestHeld(t *testing.T) {
	for name, by := range floods {
		t.Run(name, func(t *testing.T) {
			r := backlog.NewRoom[int](10_000, 50)
			var topic, other backlog.Held[int]
			require.Zero(t, r.Add(&topic, honest, -1, 100))
			dropped := 0
			for i := range 1000 {
				dropped += r.Add(&topic, by(i), i, 1)
			}
			require.Equal(t, 951, dropped, "no more than a topic may have")
			for i := range 1000 {
				var another backlog.Held[int]
				r.Add(&another, by(i), i, 100)
			}
			require.NotZero(t, r.Add(&other, honest, -2, 100))
			require.Equal(t, []int{-1}, r.ReleaseOf(&topic, honest))
			require.Empty(t, r.ReleaseOf(&topic, honest))
			require.NotContains(t, r.Release(&topic), -1)
			require.Equal(t, []int{-2}, r.Release(&other))
			require.Empty(t, r.Release(&other))
		})
	}
}
