//go:build race

package maculadht

// These are less under the race detector, which makes all slow.
const (
	simnetHostsDefault   = 25
	simnetLookupsDefault = 20
)
