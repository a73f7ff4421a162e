//go:build race

package routingtest

// SimNodes is less under the race detector, which makes all slow.
const SimNodes = 150
