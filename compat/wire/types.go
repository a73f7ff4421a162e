package wire

import "fmt"

// Type is the message type in a frame's second byte.
type Type uint8

// The message types of macula v0.20.x, and TypeRegisterProcedure of 0.29 to 2.1.
const (
	TypeConnect             Type = 0x01
	TypeDisconnect          Type = 0x02
	TypePing                Type = 0x03
	TypePong                Type = 0x04
	TypePublish             Type = 0x10
	TypeSubscribe           Type = 0x11
	TypeUnsubscribe         Type = 0x12
	TypePubSubRoute         Type = 0x13
	TypeCall                Type = 0x20
	TypeReply               Type = 0x21
	TypeCast                Type = 0x22
	TypeRPCRoute            Type = 0x23
	TypeRPCRequest          Type = 0x24
	TypeRPCReply            Type = 0x25
	TypeRegisterProcedure   Type = 0x26
	TypeSWIMPing            Type = 0x30
	TypeSWIMAck             Type = 0x31
	TypeSWIMPingReq         Type = 0x32
	TypeFindNode            Type = 0x40
	TypeFindNodeReply       Type = 0x41
	TypeStore               Type = 0x42
	TypeFindValue           Type = 0x43
	TypeFindValueReply      Type = 0x44
	TypeNATProbe            Type = 0x50
	TypeNATProbeReply       Type = 0x51
	TypePunchRequest        Type = 0x52
	TypePunchCoordinate     Type = 0x53
	TypePunchExecute        Type = 0x54
	TypePunchResult         Type = 0x55
	TypeRelayRequest        Type = 0x56
	TypeRelayData           Type = 0x57
	TypeBridgeRPC           Type = 0x60
	TypeBridgeData          Type = 0x61
	TypeGossipPush          Type = 0x70
	TypeGossipPull          Type = 0x71
	TypeGossipPullReply     Type = 0x72
	TypeGossipSync          Type = 0x73
	TypeGossipSyncReply     Type = 0x74
	TypeRegistryPublish     Type = 0x80
	TypeRegistryPublishAck  Type = 0x81
	TypeRegistryFetch       Type = 0x82
	TypeRegistryFetchReply  Type = 0x83
	TypeRegistryQuery       Type = 0x84
	TypeRegistryQueryReply  Type = 0x85
	TypeRegistryVerify      Type = 0x86
	TypeRegistryVerifyReply Type = 0x87
	TypeRegistrySync        Type = 0x88
	TypeRegistrySyncReply   Type = 0x89
	TypeContentWant         Type = 0x90
	TypeContentHave         Type = 0x91
	TypeContentBlock        Type = 0x92
	TypeContentManifestReq  Type = 0x93
	TypeContentManifestRes  Type = 0x94
	TypeContentCancel       Type = 0x95
)

// names holds the reference's name of every type, at the index of its id.
var names = [256]string{
	TypeConnect:             "connect",
	TypeDisconnect:          "disconnect",
	TypePing:                "ping",
	TypePong:                "pong",
	TypePublish:             "publish",
	TypeSubscribe:           "subscribe",
	TypeUnsubscribe:         "unsubscribe",
	TypePubSubRoute:         "pubsub_route",
	TypeCall:                "call",
	TypeReply:               "reply",
	TypeCast:                "cast",
	TypeRPCRoute:            "rpc_route",
	TypeRPCRequest:          "rpc_request",
	TypeRPCReply:            "rpc_reply",
	TypeRegisterProcedure:   "register_procedure",
	TypeSWIMPing:            "swim_ping",
	TypeSWIMAck:             "swim_ack",
	TypeSWIMPingReq:         "swim_ping_req",
	TypeFindNode:            "find_node",
	TypeFindNodeReply:       "find_node_reply",
	TypeStore:               "store",
	TypeFindValue:           "find_value",
	TypeFindValueReply:      "find_value_reply",
	TypeNATProbe:            "nat_probe",
	TypeNATProbeReply:       "nat_probe_reply",
	TypePunchRequest:        "punch_request",
	TypePunchCoordinate:     "punch_coordinate",
	TypePunchExecute:        "punch_execute",
	TypePunchResult:         "punch_result",
	TypeRelayRequest:        "relay_request",
	TypeRelayData:           "relay_data",
	TypeBridgeRPC:           "bridge_rpc",
	TypeBridgeData:          "bridge_data",
	TypeGossipPush:          "gossip_push",
	TypeGossipPull:          "gossip_pull",
	TypeGossipPullReply:     "gossip_pull_reply",
	TypeGossipSync:          "gossip_sync",
	TypeGossipSyncReply:     "gossip_sync_reply",
	TypeRegistryPublish:     "registry_publish",
	TypeRegistryPublishAck:  "registry_publish_ack",
	TypeRegistryFetch:       "registry_fetch",
	TypeRegistryFetchReply:  "registry_fetch_reply",
	TypeRegistryQuery:       "registry_query",
	TypeRegistryQueryReply:  "registry_query_reply",
	TypeRegistryVerify:      "registry_verify",
	TypeRegistryVerifyReply: "registry_verify_reply",
	TypeRegistrySync:        "registry_sync",
	TypeRegistrySyncReply:   "registry_sync_reply",
	TypeContentWant:         "content_want",
	TypeContentHave:         "content_have",
	TypeContentBlock:        "content_block",
	TypeContentManifestReq:  "content_manifest_req",
	TypeContentManifestRes:  "content_manifest_res",
	TypeContentCancel:       "content_cancel",
}

// Known reports whether t is one of the 54 types: the 53 of macula v0.20.x, or
// TypeRegisterProcedure.
func (t Type) Known() bool { return names[t] != "" }

// String returns the reference's name of the type, such as "find_value", or
// "unknown(0xee)".
func (t Type) String() string {
	if name := names[t]; name != "" {
		return name
	}
	return fmt.Sprintf("unknown(0x%02x)", uint8(t))
}

// ParseType returns the type of that name, as [Type.String] writes it, and
// whether there is one.
func ParseType(name string) (Type, bool) {
	if name == "" {
		return 0, false
	}
	for id, n := range names {
		if n == name {
			return Type(id), true
		}
	}
	return 0, false
}
