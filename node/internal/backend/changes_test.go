package backend

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is remembered of changes does not grow, and the oldest goes.
func TestChangesAreBounded(t *testing.T) {
	var c changes
	key := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	for i := range maxChanged + 10 {
		c.note(key(i))
		c.note(key(i))
	}
	require.Len(t, c.at, maxChanged)
	require.True(t, c.of(key(9)).IsZero())
	require.False(t, c.of(key(10)).IsZero())
	require.False(t, c.of(key(maxChanged+9)).IsZero())
}
