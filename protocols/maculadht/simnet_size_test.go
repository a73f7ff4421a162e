//go:build !race

package maculadht

const (
	simnetHostsDefault   = 60
	simnetLookupsDefault = 100
)
