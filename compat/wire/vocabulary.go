package wire

import "strings"

// ProtocolVersion is the version that a Connect states.
const ProtocolVersion = "1.0"

// What a Connect may say that its sender can do.
const (
	CapabilityPubSub = "pubsub"
	CapabilityRPC    = "rpc"
)

// Procedures of the DHT that are asked for by Call.
const (
	ProcedureStore        = "_dht.store"         // see procedures.StoreArgs; answers {status: StatusOK}
	ProcedureListGateways = "_dht.list_gateways" // answers a procedures.GatewayList
	ProcedurePeerInfo     = "_dht.peer_info"     // answers a procedures.PeerInfo; only macula-nodes know it
)

// IsDHTProcedure reports whether a procedure is one of those above.
func IsDHTProcedure(name string) bool {
	return name == ProcedureStore || name == ProcedureListGateways || name == ProcedurePeerInfo
}

// StatusOK is the field status in the result of ProcedureStore.
const StatusOK = "ok"

// GatewayPrefix begins the keys under which gateways register themselves. Such
// a key is never to be written to an Erlang node: its discovery crashes.
const GatewayPrefix = "peer.gateway."

// IsGatewayKey reports whether a key begins with GatewayPrefix.
func IsGatewayKey(key []byte) bool {
	return len(key) >= len(GatewayPrefix) && string(key[:len(GatewayPrefix)]) == GatewayPrefix
}

// UndefinedID answers a Call, NATProbe or RPCRequest that has no id.
const UndefinedID = "undefined"

// Reasons in a FindNodeReply or FindValueReply that is an error.
const (
	ReasonMissingKey    = "missing_key"
	ReasonInvalidKey    = "invalid_key"
	ReasonMissingTarget = "missing_target"
	ReasonInvalidTarget = "invalid_target"
	ReasonBusy          = "busy"
)

// Reasons in a Disconnect that turns a Connect away.
const (
	ReasonRealmMismatch  = "realm_mismatch"   // the realm is not the one that is served here
	ReasonNodeIDMismatch = "node_id_mismatch" // the node id is not the libp2p peer's
	ReasonInvalidConnect = "invalid_connect"  // the node id is missing or mistyped
)

// Codes in the CallError of a Reply.
const (
	CodeInvalidArgs   = "invalid_args"
	CodeBootstrapOnly = "gateway_bootstrap_only" // no such procedure here
	CodeBusy          = "busy"
	CodeNotOwner      = "not_owner"
	CodeKeyFull       = "key_full"      // the key has as many providers as it may
	CodeSuperseded    = "superseded"    // a newer record of its provider is stored, or it is withdrawn
	CodeStoreFailed   = "store_failed"  // by a disk, not by a rule
	CodeNotRouted     = "not_routed"    // nobody is known to whom an RPCRoute with a call could be passed on
	CodeTimeout       = "timeout"       // a procedure was not answered in time
	CodeProviderGone  = "provider_gone" // its provider's connection ended before it answered
	CodeHandlerError  = "handler_error" // it failed, as its message says
	CodeHandlerCrash  = "handler_crash" // it broke, in a way that its node keeps to itself
	CodeMaxHops       = "max_hops_exceeded"
	CodeTooLarge      = "too_large" // args or result do not fit a frame
	CodeClosed        = "closed"    // the node serves calls no longer
	// CodeConnectFirst: who asks has not CONNECTed. It is a reason in a FindNodeReply
	// and a FindValueReply, too.
	CodeConnectFirst = "connect_first"
)

// MaxHops is the MaxHops of a Route as Erlang gateways write it.
const MaxHops = 10

// IsPublicTopic reports whether Erlang gateways pass what is published under a topic on
// to whoever has subscribed elsewhere: of others they want a proof of ownership.
func IsPublicTopic(topic string) bool {
	return strings.HasPrefix(topic, "public.") || strings.Contains(topic, ".public.")
}

// The PayloadTypes of an RPCRoute.
const (
	PayloadCall  = "call"
	PayloadReply = "reply"
)

// The Errors of an RPCReply, which are codes in the CallError of a Reply too.
const (
	ErrorNoHandler         = "rpc_handler_not_available" // the gateway executes no procedures
	ErrorProcedureNotFound = "procedure_not_found"       // the node does not know it
	ErrorTargetNotFound    = "target_peer_not_found"     // the node is not connected
)

// The Kind of an RPCRequest and of an RPCReply, as the reference writes it.
const (
	TextRPCRequest = "rpc_request"
	TextRPCReply   = "rpc_reply"
)

// TextRelayRequest is the field type of what an Erlang client sends without a frame
// around it, before an RPCRequest.
const TextRelayRequest = "relay_request"

// Codes that never travel: what an asker says of an answer that can not be one.
const (
	CodeWrongReply  = "wrong_reply"   // a message of another type, or to another request
	CodeBadReply    = "bad_reply"     // broken, or without what it must hold
	CodeWrongCallID = "wrong_call_id" // the answer to another Call
)

// The values of the fields type and result in the DHT's messages.
const (
	typeError  = "error"
	resultHit  = "value"
	resultMiss = "nodes"
)
