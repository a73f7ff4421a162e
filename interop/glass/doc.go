// Package glass is a test double of an Erlang macula v0.20.3 node: a gateway
// that answers as the recorded one did, and breaks where that one broke, but
// says so. Tests put it where a real node would stand, and see through it what
// a client, or a gateway that it uses, did to it.
//
// What it does is what docs/WIRE.md tells, weaknesses included; what breaks it
// hangs it, or has it forget what the real one forgot, and [Gateway.Broken] tells
// why.
//
// As a server it decodes each receive event alone, has room for one handshake,
// grants 100 streams a connection and never closes its side of one. Its gateway
// process does one thing at a time; for most of it it waits for its routing
// server, which on a miss asks one peer after the other, 5 s each, and after 10 s
// it crashes. It delivers what is published, and passes RPC on. It can stall
// ([Gateway.Stall]), and be killed and come back ([Gateway.Restart]).
//
// As a client it bootstraps ([Gateway.Bootstrap]), or is one of macula:connect
// ([Gateway.Connect]): a pipelined stream, on which it subscribes, publishes and
// calls. Each end of such a stream doubles its connections. It dials and CONNECTs
// to what it is told of at every poll, and takes the first bytes of a reply for
// the whole of it ([Gateway.Lookup]). An RPC_ROUTE call that nobody answers, or a
// service's record that it can not read, is the end of a client.
//
// Where it is not like the reference: it counts what a careful client does not
// do though nothing breaks by it ([Gateway.Lapses]); what nobody has recorded,
// such as a PUNCH_COORDINATE with some of its fields, counts as a crash where its
// like crashed; FIND_NODE returns the nearest of all nodes, while the real search
// skips some; each ended stream leads to two reconnects, the fewest that were
// seen; a gateway's own subscription is not renewed; and nobody owns a topic
// that is not public.
//
// What other versions do differently are options, see [RateLimited] and those
// beside it. In a simulated network ([Network]) all times can be virtual.
//
// It knows package wire and nothing else of this module, and no test framework,
// so that every package's tests can use it. All methods are safe for concurrent
// use.
package glass
