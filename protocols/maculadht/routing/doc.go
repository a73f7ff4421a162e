// Package routing is the state of a Macula DHT node: who it knows and what it
// stores. It opens no sockets; a [Network] carries its questions.
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
// A [Record] is one provider's value under a key. A [RecordStore] keeps lists
// of records and knows no rules; [NewMemoryStore] is the one in memory. The
// rules (order of providers, ownership, age of copies, expiry, budgets) are
// those of the [Server], in one place above every store.
//
// Everything a read returns is shared and immutable: contacts, records and
// their bytes must not be modified.
package routing
