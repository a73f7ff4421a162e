// Package pubsub has topics: who subscribes to a pattern gets what is published under
// the topics that fit it, wherever in the network, at most once.
//
// A program joins in by [Topics.Subscribe] and [Topics.Publish], on any host that has a
// maculadht.Service. Erlang clients do by SUBSCRIBE, UNSUBSCRIBE and PUBLISH on the stream
// of their CONNECT, and libp2p peers that have CONNECTed may do the same. All of them are
// served by one machinery: patterns in a trie (package trie), one copy to each node, as
// the message came.
//
// Between nodes a message goes once to each that has said, by a record in the DHT, that
// somebody there has subscribed: by PUBSUB_ROUTE, to macula-nodes over
// /macula/dht/1.0, to Erlang gateways as package dialer lets it. Who receives one
// delivers it and never passes it on.
//
// A record stands under one exact name. A pattern is told of under its literal part: the
// first segments up to a "*" or "**", three at most, with ".**" behind, such as "a.b.**"
// for "a.b.*.temp". So a publisher asks for the topic itself, and for "**", "a.**",
// "a.b.**" and "a.b.c.**". Erlang gateways ask for the topic alone: a pattern at a
// macula-node gets what is published at an Erlang gateway only where that gateway has
// another reason to send it there.
//
// docs/PROTOCOL.md (topics) is the specification.
package pubsub
