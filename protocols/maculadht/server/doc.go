// Package server answers /macula/dht/1.0, on libp2p streams and on those of raw
// QUIC that Erlang nodes open.
//
// A [Mux] hands each frame of a stream to the [Handler] of its type. The stream
// is a [Peer]: one goroutine reads and handles, another one writes, so that
// others can write too. What answers a request keeps the request's place in the
// order, at once ([Peer.Reply]) or later ([Peer.Defer]); what answers nothing is
// pushed between ([Peer.Push]). All that waits to be written is bounded, and
// reserved from the account of whoever does not read it.
//
// [Handlers] are the DHT's own handlers. They hold no state: each forwards to
// the routing server. What differs between transports is a [Dialect] value.
package server
