package queue

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQueue(t *testing.T) {
	var q Queue[string]
	_, ok := q.Pop()
	require.False(t, ok)
	require.Zero(t, q.Push("a", 4, 3, 10))
	require.Zero(t, q.Push("b", 4, 3, 10))
	require.Equal(t, 1, q.Push("c", 4, 3, 10), "over the bytes")
	require.Zero(t, q.Push("d", 1, 3, 10))
	require.Equal(t, 1, q.Push("e", 1, 3, 10), "over the messages")
	require.Equal(t, 3, q.Len())
	require.Equal(t, 3, q.Push("long", 20, 3, 10), "one alone may be longer")
	m, ok := q.Pop()
	require.True(t, ok)
	require.Equal(t, "long", m)
	require.Zero(t, q.Len())
	require.Zero(t, q.Push("f", 10, 3, 10))
}
