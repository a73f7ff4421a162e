// Package interop holds the proof that macula-node speaks with others: what a
// real Erlang node sent and answered, recorded in testdata, is replayed against
// the built program; every rule of the protocol is tried on both transports;
// and what one side stores, the other one finds. It has no code of its own; that
// of its tests' double of an Erlang node is in package glass, and what looks at
// gateways, real ones too, in package doctor.
package interop
