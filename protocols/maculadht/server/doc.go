// Package server serves streams of Macula's frames: of /macula/dht/1.0, and of raw
// QUIC that Erlang nodes open.
//
// A [Mux] hands each frame of a stream to the [Handler] of its type. The stream
// is a [Peer]: one goroutine reads and handles, another one writes, so that
// others can write too. What answers a request keeps the request's place in the
// order, at once ([Peer.Reply]) or later ([Peer.Defer]); what answers nothing is
// pushed between ([Peer.Push]). All that waits to be written is bounded, and
// reserved from the account of whoever does not read it.
//
// A peer that has CONNECTed ([Peer.Accept]) on a stream that stays is one of the
// [Clients], which can be sent to. What else handlers keep of a peer is in a
// [PerPeer] of theirs; the DHT's are in package dht. What differs between transports
// is a [Dialect] value.
package server
