// Package dialer asks Erlang macula v0.20.x nodes, over one connection to each.
//
// Such a node is fragile: some correct messages, and some orders of closing a
// stream, crash or hang it. A [Dialer] knows them all and keeps its callers from
// them (docs/PROTOCOL.md tells which). Single questions go through it as a
// routing.Network; who keeps a session at a node holds a [Conn].
//
// It also has what all that speaks to Erlang nodes shares: the [ALPN] and the
// [Stream]. Which messages it refuses is in package safety, whom it takes the node
// at an endpoint for in package identity, how often and where it dials in pace.
package dialer
