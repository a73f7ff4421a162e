// Package glass is a test double of an Erlang macula v0.20.3 node: a gateway
// that answers as the recorded one did, and breaks where that one broke, but
// says so. Tests put it where a real node would stand, and see through it what
// a client did to it.
//
// What it does is what docs/WIRE.md tells, weaknesses included. As a server it
// decodes each receive event alone, has room for one handshake, grants 100
// streams a connection and never closes its side of one. What hangs or crashes
// a real node hangs or crashes it: it stops answering, or loses all that it
// stored, and [Gateway.Broken] tells why. As a client it bootstraps with a
// pipelined stream ([Gateway.Bootstrap]), dials what it is told of at every
// poll, and takes the first bytes of a reply for the whole of it
// ([Gateway.Lookup]).
//
// Where it is not like the reference: it counts what a careful client does not
// do though nothing breaks by it ([Gateway.Lapses]); what nobody has recorded,
// such as a CALL without call_id, counts as a crash where its like crashed; and
// FIND_NODE returns the nearest of all nodes, while the real search skips some.
//
// It knows package wire and nothing else of this module, and no test framework,
// so that every package's tests can use it. All methods are safe for concurrent
// use.
package glass
