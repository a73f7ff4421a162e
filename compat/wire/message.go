package wire

import (
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// The limits of messages (docs/PROTOCOL.md, names and limits).
const (
	// MaxPayload is the longest payload that is accepted or sent, in bytes.
	MaxPayload = 1 << 20
	// MaxDepth is how many maps and arrays may be nested, the payload's own
	// map included.
	MaxDepth = msgpack.MaxDepth
	// MaxField is the longest key, node id, endpoint, realm or procedure, in
	// bytes.
	MaxField = fields.MaxField
	// MaxNodes is how many nodes a reply lists at most.
	MaxNodes = 20
	// MaxValues is how many values of a reply are read at most: as many as a
	// key may have providers.
	MaxValues = 1000
	// MaxAddrs is how many multiaddrs of a peer are read at most.
	MaxAddrs = 16
	// MaxProof is the longest proof of a record, in bytes.
	MaxProof = 1536
	// MaxTombstones is how many tombstones of a reply are read at most.
	MaxTombstones = 64
)

// Message is a message of one of the 54 types.
type Message interface {
	// Type is the frame type under which the message travels.
	Type() Type
	// AppendPayload appends the message's MessagePack map to b.
	AppendPayload(b []byte) []byte
}

// Decode reads a payload into the message of its type: a pointer to the typed
// message where there is one, else an *Opaque. The message shares the payload's
// memory. On a *FieldError it holds every field that could be
// read; on ErrUnknownType, ErrMsgpack and ErrNotMap there is none.
func Decode(t Type, payload []byte) (Message, error) {
	if !t.Known() {
		return nil, fmt.Errorf("%w: %s", ErrUnknownType, t)
	}
	m := newMessage(t)
	if err := m.Decode(payload); err != nil {
		if _, partial := err.(*FieldError); partial {
			return m, err
		}
		return nil, err
	}
	return m, nil
}

// decodable is a message that can be read from a payload.
type decodable interface {
	Message
	Decode(payload []byte) error
}

func newMessage(t Type) decodable {
	switch t {
	case TypeConnect:
		return &Connect{}
	case TypeDisconnect:
		return &Disconnect{}
	case TypePing:
		return &Ping{}
	case TypePong:
		return &Pong{}
	case TypePublish:
		return &Publish{}
	case TypeSubscribe:
		return &Subscribe{}
	case TypeUnsubscribe:
		return &Unsubscribe{}
	case TypePubSubRoute:
		return &PubSubRoute{}
	case TypeCall:
		return &Call{}
	case TypeReply:
		return &Reply{}
	case TypeCast:
		return &Cast{}
	case TypeRPCRoute:
		return &RPCRoute{}
	case TypeRPCRequest:
		return &RPCRequest{}
	case TypeRPCReply:
		return &RPCReply{}
	case TypeRegisterProcedure:
		return &RegisterProcedure{}
	case TypeFindNode:
		return &FindNode{}
	case TypeFindNodeReply:
		return &FindNodeReply{}
	case TypeStore:
		return &Store{}
	case TypeFindValue:
		return &FindValue{}
	case TypeFindValueReply:
		return newFindValueReply()
	case TypeNATProbe:
		return &NATProbe{}
	case TypeNATProbeReply:
		return &NATProbeReply{}
	default:
		return &Opaque{MessageType: t}
	}
}
