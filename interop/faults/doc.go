// Package faults runs processes of the built program on a bad network: each in a network
// namespace of its own, joined by package lossynet. What they acknowledged before, during
// and after a partition is found from everywhere once it is over.
package faults
