// Package memory says what the process has of the machine's memory.
package memory

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
)

// Usage is what the process has, in bytes.
type Usage struct {
	Runtime int64 // that the Go runtime has of the system
	InUse   int64 // of that, what the heap's objects and the stacks take
	Limit   int64 // that the runtime keeps to (GOMEMLIMIT); 0 without one
}

// Read returns what the process has now.
func Read() Usage {
	read := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(read)
	v := func(i int) int64 { return int64(read[i].Value.Uint64()) }
	u := Usage{Runtime: v(0) - v(1), InUse: v(2) + v(3)}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		u.Limit = limit
	}
	return u
}
