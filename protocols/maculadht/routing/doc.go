// Package routing is who a Macula DHT node knows, and what it keeps: the ground on
// which package lookup finds others and their values, and package upkeep keeps the
// table true. It opens no sockets; a [Network] carries questions.
//
// An [ID] is a point in the 256-bit XOR space that node ids and keys share. A
// [Contact] is a node at such a point: a libp2p peer, or an Erlang node that
// has only an endpoint. Verified contacts live in a [Table] of k-buckets; those that
// find their bucket full wait in its replacement cache. Erlang nodes that have
// connected to us, and that nobody has verified, are guests: counted while their
// connection lives, never named and never dialled.
//
// A [Server] has all of this, and the records that the node keeps (package records).
//
// Everything a read returns is shared and immutable: contacts and their bytes must
// not be modified.
package routing
