package budget_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/internal/budget"
)

func TestLimits(t *testing.T) {
	tests := map[string]struct {
		change func(*budget.Limits)
		ok     bool
	}{
		"defaults":                    {func(*budget.Limits) {}, true},
		"zero":                        {func(l *budget.Limits) { *l = budget.Limits{} }, false},
		"no frames":                   {func(l *budget.Limits) { l.Source.FrameRate = 0 }, false},
		"negative frames":             {func(l *budget.Limits) { l.Source.FrameRate = -1 }, false},
		"not a number of frames":      {func(l *budget.Limits) { l.Source.FrameRate = rate.Limit(math.NaN()) }, false},
		"no frames at once":           {func(l *budget.Limits) { l.Source.FrameBurst = 0 }, false},
		"no frames for groups":        {func(l *budget.Limits) { l.Group.FrameRate = 0 }, false},
		"fewer frames for groups":     {func(l *budget.Limits) { l.Group.FrameRate = 49_999 }, false},
		"fewer at once for groups":    {func(l *budget.Limits) { l.Group.FrameBurst = 99_999 }, false},
		"as many for groups":          {func(l *budget.Limits) { l.Group = l.Source }, true},
		"unlimited for sources only":  {func(l *budget.Limits) { l.Source.FrameRate = rate.Inf }, false},
		"unlimited for groups":        {func(l *budget.Limits) { l.Group.FrameRate, l.Group.FrameBurst = rate.Inf, 0 }, true},
		"unlimited":                   {func(l *budget.Limits) { l.Source.FrameRate, l.Group.FrameRate = rate.Inf, rate.Inf }, true},
		"no memory":                   {func(l *budget.Limits) { l.Source.Memory = 0 }, false},
		"too little to read a stream": {func(l *budget.Limits) { l.Source.Memory = budget.MinMemory - 1 }, false},
		"enough to read a stream":     {func(l *budget.Limits) { l.Source.Memory = budget.MinMemory }, true},
		"less memory for groups":      {func(l *budget.Limits) { l.Group.Memory = l.Source.Memory - 1 }, false},
		"no memory in all":            {func(l *budget.Limits) { l.TotalMemory = 0 }, false},
		"less in all than a source":   {func(l *budget.Limits) { l.TotalMemory = budget.MinMemory }, true},
		"nobody remembered":           {func(l *budget.Limits) { l.Remember = 0 }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := budget.DefaultLimits()
			tt.change(&l)
			b, err := budget.New(l)
			if !tt.ok {
				require.ErrorIs(t, err, budget.ErrLimits)
				return
			}
			require.NoError(t, err)
			require.Equal(t, l, b.Limits())
		})
	}
}

func TestStorageLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		limits budget.StorageLimits
		ok     bool
	}{
		"defaults":             {budget.DefaultStorageLimits(), true},
		"zero":                 {budget.StorageLimits{}, false},
		"nothing for a source": {budget.StorageLimits{0, 1, 1}, false},
		"less for a group":     {budget.StorageLimits{2, 1, 2}, false},
		"nothing in all":       {budget.StorageLimits{1, 1, 0}, false},
		"negative":             {budget.StorageLimits{-1, -1, -1}, false},
		"less in all":          {budget.StorageLimits{2, 2, 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := budget.NewStorage(tt.limits)
			if tt.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, budget.ErrLimits)
			}
		})
	}
}

func TestShareTimes(t *testing.T) {
	s := budget.Share{FrameRate: 2, FrameBurst: 3, Memory: 5}
	require.Equal(t, budget.Share{FrameRate: 8, FrameBurst: 12, Memory: 20}, s.Times(4))
	most := budget.Share{FrameRate: rate.Inf, FrameBurst: math.MaxInt, Memory: math.MaxInt64}
	require.Equal(t, most, most.Times(4))
	require.Equal(t, budget.Share{}, s.Times(0))
}
