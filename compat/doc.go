// Package compat speaks to Erlang macula v0.20.x nodes: raw QUIC with the ALPN
// "macula".
//
// The [Gateway] serves them, on the QUIC port of a libp2p host or on a port of
// its own, with the same handlers and the same loop as package maculadht. The
// [Dialer] asks them. An Erlang node is fragile: some correct messages, and
// some orders of closing a stream, crash or hang it. The Dialer knows them all
// and keeps its callers from them; docs/PROTOCOL.md tells which.
package compat
