// Package gateway serves Erlang macula v0.20.x nodes over raw QUIC with the ALPN
// "macula": on the QUIC port of a libp2p host or on a port of its own, with the
// same handlers and the same loop as package maculadht.
package gateway
