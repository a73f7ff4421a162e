// Package compat holds what speaks to Erlang macula v0.20.x nodes: raw QUIC with
// the ALPN "macula". It has no code of its own, only rooms:
//
//   - wire: their frames, messages and values, bytes to Go values and back;
//   - dialer: asks them over one connection each, and keeps them alive, as some
//     correct messages, and some orders of closing a stream, crash or hang them;
//   - gateway: serves them, on the QUIC port of a libp2p host or on one of its
//     own, with the same handlers and the same loop as package maculadht;
//   - uplink: our session at a gateway that an operator named;
//   - doctor: looks at a gateway as a client of it.
//
// Imports run from gateway, uplink and doctor to dialer, and from all to wire;
// gateway and uplink do not know each other.
package compat
