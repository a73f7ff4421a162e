package wire

// Reply returns the type of a request's answer, and whether it has one: CONNECT,
// PING, FIND_NODE, FIND_VALUE, CALL, NAT_PROBE and RPC_REQUEST are answered once
// each, in order, and nothing else ever is (docs/PROTOCOL.md, frames).
func (t Type) Reply() (Type, bool) {
	switch t {
	case TypeConnect, TypePing:
		return TypePong, true
	case TypeFindNode:
		return TypeFindNodeReply, true
	case TypeFindValue:
		return TypeFindValueReply, true
	case TypeCall:
		return TypeReply, true
	case TypeNATProbe:
		return TypeNATProbeReply, true
	case TypeRPCRequest:
		return TypeRPCReply, true
	default:
		return 0, false
	}
}

// Answers reports whether a frame of type t can be the answer to a request: it
// is of the request's reply type, or the DISCONNECT that turns a CONNECT away.
func (t Type) Answers(request Type) bool {
	want, asks := request.Reply()
	return asks && (t == want || request == TypeConnect && t == TypeDisconnect)
}
