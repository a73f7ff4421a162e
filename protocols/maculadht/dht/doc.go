// Package dht answers the DHT's messages on the streams of a [server.Mux]:
// FIND_VALUE, FIND_NODE, STORE, CONNECT, PING, the calls that a gateway serves and
// those that it refuses. [Handlers] hold no state but what is kept of each peer on
// its stream: they forward to the routing server and its records. What differs
// between transports is the session's [server.Dialect].
package dht
