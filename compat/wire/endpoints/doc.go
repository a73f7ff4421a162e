// Package endpoints is how it is written where an Erlang node, or ours for those, is
// reached: an [Endpoint] is "https://host:port".
package endpoints
