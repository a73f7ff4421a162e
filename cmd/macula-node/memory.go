package main

import (
	"os"
	"runtime/debug"

	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// What the process may have of the memory beside its records.
const (
	// restMemory is for the program, Pebble's tables and cache, and the values that wait
	// for the disk.
	restMemory = 64 << 20
	// leastBuffers is what peers may have buffered in any case.
	leastBuffers = 64 << 20
)

// memoryLimits returns what peers may use of a node whose records and whose connections may
// cost so many bytes, and has Go's garbage collector keep the process to what all and the
// rest need, unless GOMEMLIMIT says another limit. Without one the collector lets twice of
// what is in use be taken. Records are accounted within a fifth of what they cost; a quarter is added.
func memoryLimits(records, connections int64) maculadht.Limits {
	limits := maculadht.DefaultLimits()
	a := &limits.Accounts
	a.TotalMemory = min(a.TotalMemory, max(leastBuffers, records/2))
	a.Group.Memory = min(a.Group.Memory, a.TotalMemory/2)
	a.Source.Memory = min(a.Source.Memory, a.TotalMemory/4)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(records + records/4 + a.TotalMemory + connections + restMemory)
	}
	return limits
}
