// Package peerhost builds the libp2p host of a node: QUIC alone, kad-dht as its router
// of peers, and on the same UDP ports what listens for Erlang nodes.
package peerhost
