// Package uplink keeps this node's sessions at the Erlang gateways that an
// operator named: each is looked at, told of this node if it serves its realm,
// and come back to when the session ends.
package uplink
