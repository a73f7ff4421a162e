// Package doctor looks at a gateway of Macula as a client of it and says what it
// saw: whether it is reachable, which realm it serves, what it stores and how
// fast it answers.
//
// It is safe to run against a gateway in production. It asks only what no
// recorded Erlang node was hurt by, one question at a time, through a
// [dialer.Dialer], and leaves the gateway alone once it has kept silent. It
// never CONNECTs, as a node would keep dialling who does and hangs where the
// realm is another; it asks for no nodes, which crashes a node that itself
// bootstrapped from another; it sends no RPC_REQUEST, as a handler there may do
// whatever it likes with one; and it looks only for keys that are likely to be
// there, as a miss has the gateway ask all that it knows (docs/WIRE.md, what
// keeps it alive). It writes nothing unless it is told to.
package doctor
