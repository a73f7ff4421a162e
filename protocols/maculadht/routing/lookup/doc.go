// Package lookup finds nodes and values anywhere in the network: Kademlia's iterative
// lookup, which asks ever nearer contacts. It begins at those of a routing.Server and
// asks through a routing.Network.
//
// Everything that a lookup returns is the caller's to read: contacts, values and
// their bytes are shared and must not be modified.
package lookup
