// Package identity says who answers where an Erlang node is dialled: by the public
// key and the chain of its certificate, the [Pin] that an operator wrote, and the
// [ClientID] by which such a node names itself.
package identity
