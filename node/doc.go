// Package node assembles one Macula peer: a libp2p host on QUIC with kad-dht
// under the prefix /macula, the service of /macula/dht/1.0, and the gateway for
// Erlang nodes on the same UDP port. Its key, and what it shows and accepts of
// certificates, is in package credentials. It is what the program macula-node runs;
// a program with a host of its own embeds package maculadht, and package compat
// beside it.
package node
