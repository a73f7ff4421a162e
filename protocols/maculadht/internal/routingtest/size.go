//go:build !race

package routingtest

// SimNodes is how many nodes a simulation has that is not told otherwise.
const SimNodes = 200
