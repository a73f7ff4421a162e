package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	const size = 64 << 20
	before := Read()
	held := make([]byte, size)
	after := Read()
	require.GreaterOrEqual(t, after.InUse, before.InUse+size/2, "what is held is in use")
	require.GreaterOrEqual(t, after.Runtime, after.InUse)
	runtime.KeepAlive(held)
}

func TestLimit(t *testing.T) {
	was := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(was)
	require.Zero(t, Read().Limit, "there is none")
	debug.SetMemoryLimit(1 << 40)
	require.EqualValues(t, 1<<40, Read().Limit)
}
