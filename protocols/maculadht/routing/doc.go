// Package routing is the state of a Macula DHT node: who it knows, and how it
// finds others and what they keep. It opens no sockets; a [Network] carries its
// questions.
//
// # Who
//
// An [ID] is a point in the 256-bit XOR space that node ids and keys share. A
// [Contact] is a node at such a point: a libp2p peer, or an Erlang node that
// has only an endpoint. Verified contacts live in a [Table] of k-buckets.
// Erlang nodes that have connected to us, and that nobody has verified, are
// guests: listed in FIND_NODE replies while their connection lives, and never
// dialled.
//
// # What
//
// What the node itself keeps is in package records; [Server.Records] has it. A
// [Lookups] finds what is anywhere in the network, and an [Upkeep] keeps the table
// true and hands records over to those who are nearer to their keys.
//
// Everything a read returns is shared and immutable: contacts and their bytes must
// not be modified.
package routing
