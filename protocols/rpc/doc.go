// Package rpc calls procedures and serves them, for Erlang nodes and libp2p peers alike.
//
// [New] has a maculadht.Service serve calls: of an Erlang node to another one that has
// CONNECTed here, of either to what a program serves ([Calls.Serve]) at this node, and
// of all of them to whoever is behind another node of ours. A program calls with
// [Calls.Call].
//
// On the wire there are three ways to ask, and each call may change from one to
// another (docs/PROTOCOL.md, calls). CALL names a procedure, and is answered by REPLY;
// RPC_REQUEST names a node too, and is answered by RPC_REPLY; RPC_ROUTE names a node,
// and is answered by REPLY over ALPN "macula" and by RPC_ROUTE over libp2p, which is how
// nodes of ours pass calls on to each other, once and no further. Nothing is passed on
// to Erlang gateways, which it may crash.
//
// What is said in a CALL is MessagePack; in the other two it is a JSON text. Whoever
// serves here sees MessagePack, and what it answers becomes what its caller reads.
package rpc
