// Package safety keeps from an Erlang macula v0.20.x node the messages that would
// crash or hang it, or that it could not take whole (docs/WIRE.md tells which).
package safety
