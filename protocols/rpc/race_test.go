//go:build race

package rpc_test

// raceSlower is how many times less the race detector lets a machine do.
const raceSlower = 16
