//go:build !race

package routing

const simDefault = 1000
