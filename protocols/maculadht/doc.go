// Package maculadht speaks /macula/dht/1.0, Macula's DHT on libp2p.
//
// [New] registers the protocol on any host.Host and is all that an embedding
// program needs; package client only asks. The frames are Macula's own (package
// compat/wire), so both transports of a node, libp2p and raw QUIC, are served
// by the same handlers (package dht) and the same mux (package server): what differs
// is a server.Dialect value. All state is in the routing server (package routing)
// and its records (package records).
//
// On the wire: a stream carries any number of frames, and each CONNECT, PING,
// FIND_NODE, FIND_VALUE, CALL, NAT_PROBE and RPC_REQUEST is answered exactly
// once, in order; nothing else is answered. So an asker may pipeline, and
// matches replies by their order. docs/PROTOCOL.md is the specification.
package maculadht
