// Package resolver finds what is stored elsewhere in the network for nodes that ask
// this one only, as Erlang nodes ask their gateway, and remembers it for a while.
package resolver
