// Package conns bounds what the connections of strangers cost, of whatever protocol.
// Who comes is let in, and the heaviest gives way.
//
// A [Pool] counts what connections cost in bytes: each a [ConnCost], each stream a
// [StreamCost], and what is buffered on them. Where that is more than its limit, what the
// heaviest IP group has goes: of its heaviest address the heaviest peer, of several as
// heavy the one that was idle for longest. A group that has no more than [Allowance] is not
// heavy, and where none is the idlest goes; so it is with the peers of an address. So whoever
// fills a pool pushes out his own, and among them who does something stays.
//
// Handshakes are no connections yet. Of those under way one group has no more than half of
// what is left, of three quarters of all; the last is for groups that have none. Above a
// quarter of all, or above a rate, an address has to be proved by a QUIC Retry, which keeps
// nothing.
//
// A [Manager] is libp2p's resource manager with a pool: what goes through it counts, as do
// the connections of raw QUIC that [Manager.ConnContext] and [Manager.Settle] have seen.
package conns
