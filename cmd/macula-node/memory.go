package main

import (
	"os"
	"runtime/debug"

	"github.com/macula-mesh/macula-node/node"
)

// restMemory is what the process may have beside records, connections and buffers: for the
// program, Pebble's tables and cache, and the values that wait for the disk.
const restMemory = 64 << 20

// limitMemory has Go's garbage collector keep the process to what a node's records,
// connections and buffers may cost, and the rest needs, unless GOMEMLIMIT says another limit.
// Without one the collector lets twice of what is in use be taken. Records are accounted
// within a fifth of what they cost; a quarter is added.
func limitMemory(cfg node.Config) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.Records.Bytes + cfg.Records.Bytes/4 + cfg.Limits.Accounts.TotalMemory + cfg.Conns.Memory + restMemory)
	}
}
