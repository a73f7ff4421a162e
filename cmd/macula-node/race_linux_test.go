//go:build race

package main

// raceMemory is how much more a process may take of the memory: the race detector has as
// much for itself, at the least.
const raceMemory = 2
