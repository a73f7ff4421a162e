//go:build race

package routing

// simDefault is less under the race detector, which makes all slow.
const simDefault = 150
