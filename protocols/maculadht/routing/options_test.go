package routing

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServerOptions(t *testing.T) {
	for name, opt := range map[string]Option{
		"no records":  WithRecords(nil),
		"no bucket":   WithBucketSize(0),
		"no tracer":   WithMetricsTracer(nil),
		"no observer": WithObserver(nil),
		"no alpha":    WithAlpha(0),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewServer(ID{}, opt)
			require.Error(t, err)
			require.Nil(t, s)
		})
	}
}

// An option holds for what is made later as well, and is not taken too late.
func TestOptionsAreInherited(t *testing.T) {
	s := newServer(t, WithAlpha(7), WithQuorum(4), WithHandOver(time.Second, 5))
	l, err := NewLookups(s, silentNetwork{}, WithQuorum(2))
	require.NoError(t, err)
	require.Equal(t, []int{7, 2}, []int{l.cfg.alpha, l.cfg.quorum})
	u, err := NewUpkeep(l, WithChecks(time.Hour, time.Hour, time.Hour))
	require.NoError(t, err)
	defer u.Close()
	require.Equal(t, 5, u.cfg.handOverRate)
	require.Equal(t, time.Hour, u.cfg.check)

	other, err := NewLookups(s, silentNetwork{})
	require.NoError(t, err)
	require.Equal(t, 4, other.cfg.quorum, "what one has is not the other's")

	for name, opt := range map[string]Option{
		"records":     WithRecords(s.Records()),
		"bucket size": WithBucketSize(5),
		"diversity":   WithDiversity(1, 2),
		"tracer":      WithMetricsTracer(noTracer{}),
	} {
		t.Run(name+" for lookups", func(t *testing.T) {
			_, err := NewLookups(s, silentNetwork{}, opt)
			require.ErrorIs(t, err, ErrLateOption)
		})
		t.Run(name+" for an upkeep", func(t *testing.T) {
			_, err := NewUpkeep(l, opt)
			require.ErrorIs(t, err, ErrLateOption)
		})
	}
	for name, opt := range map[string]Option{
		"alpha":    WithAlpha(1),
		"quorum":   WithQuorum(1),
		"timeouts": WithTimeouts(1, 1, 1),
		"observer": WithObserver(func(Hop) {}),
	} {
		t.Run(name+" for an upkeep", func(t *testing.T) {
			_, err := NewUpkeep(l, opt)
			require.ErrorIs(t, err, ErrLateOption)
		})
	}
}
