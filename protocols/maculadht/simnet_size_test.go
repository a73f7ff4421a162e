//go:build !race

package maculadht

const (
	simnetHostsDefault   = 50
	simnetLookupsDefault = 50
)
