// Package budget keeps what strangers may cost. A [Source] says who pays: a
// libp2p peer or an IP address, and above it the group of addresses that it
// comes from, since a peer id is free and an address nearly so, but an IPv4 /24
// or an IPv6 /48 is not. A [Budget] has one account for each source and each
// group, which all connections and streams of theirs share: frames by rate, and
// bytes buffered in and out. How many connections there may be, and whose go where
// that is too many, is for internal/conns to say. An account outlives its
// connections until its frames would be allowed again, so that reconnecting
// gains nothing. [Storage] is the ledger of stored bytes by the same sources and
// groups. Memory is bounded whatever strangers do, nothing waits, and there are
// no goroutines.
package budget
