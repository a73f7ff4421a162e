// Package records has the rules of what a Macula DHT node keeps: what may be
// stored, by whom, for how long, and what goes first. It opens no sockets.
//
// A [Record] is one provider's value under a key. A [Store] keeps lists of
// records and knows no rules; [NewMemoryStore] is the one in memory, and package
// storetest says what every other one must do. The rules (order of providers,
// ownership, age of copies, expiry, budgets) are those of the [Manager], in one
// place above every store.
//
// Everything a read returns is shared and immutable: records and their bytes
// must not be modified.
package records
