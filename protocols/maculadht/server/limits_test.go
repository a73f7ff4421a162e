package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

func TestBudgetsAreSharedAndForgotten(t *testing.T) {
	b := NewBudgets(rate.Every(time.Hour), 1)
	one, releaseOne := b.Acquire("a")
	two, releaseTwo := b.Acquire("a")
	other, releaseOther := b.Acquire("b")
	require.Same(t, one, two)
	require.NotSame(t, one, other)
	releaseOne()
	releaseOne() // counts once
	again, releaseAgain := b.Acquire("a")
	require.Same(t, one, again)
	releaseTwo()
	releaseAgain()
	releaseOther()
	require.Empty(t, b.bySource)

	none, release := NewBudgets(rate.Inf, 1).Acquire("a")
	require.Nil(t, none)
	release()
}
