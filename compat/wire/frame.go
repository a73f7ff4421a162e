package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// The frame's layout and limits (docs/PROTOCOL.md, names and limits).
const (
	// Version is the only frame version there is.
	Version = 0x01
	// HeaderSize is the length of a frame's header in bytes.
	HeaderSize = 8
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

// Frame is one message as it travels. Payload is not yet known to be
// MessagePack.
type Frame struct {
	Type    Type
	Payload []byte
}

// header reads the first HeaderSize bytes of b, which must be there.
func header(b []byte) (t Type, size int, err error) {
	if b[0] != Version {
		return 0, 0, fmt.Errorf("%w %d, want %d", ErrVersion, b[0], Version)
	}
	n := binary.BigEndian.Uint32(b[4:])
	if n > MaxPayload {
		return 0, 0, fmt.Errorf("%w: %s of %d bytes, limit %d", ErrTooLarge, Type(b[1]), n, MaxPayload)
	}
	return Type(b[1]), int(n), nil
}

// DecodeFrame cuts the first frame from b and returns it with the bytes that
// follow it. The frame shares b's memory. It checks in the reference's order:
// ErrShortHeader, ErrVersion (and ErrTooLarge), ErrTruncated, ErrUnknownType.
func DecodeFrame(b []byte) (f Frame, rest []byte, err error) {
	if len(b) < HeaderSize {
		return Frame{}, b, fmt.Errorf("%w: got %d", ErrShortHeader, len(b))
	}
	t, size, err := header(b)
	if err != nil {
		return Frame{}, b, err
	}
	if have := len(b) - HeaderSize; have < size {
		return Frame{}, b, fmt.Errorf("%w: %s has %d of %d payload bytes", ErrTruncated, t, have, size)
	}
	if !t.Known() {
		return Frame{}, b, fmt.Errorf("%w: %s", ErrUnknownType, t)
	}
	end := HeaderSize + size
	return Frame{Type: t, Payload: b[HeaderSize:end:end]}, b[end:], nil
}

// Message is a message of one of the 53 types.
type Message interface {
	// Type is the frame type under which the message travels.
	Type() Type
	// AppendPayload appends the message's MessagePack map to b.
	AppendPayload(b []byte) []byte
}

// AppendFrame appends m as a whole frame to b. It fails with ErrTooLarge, and
// returns b as it was, where the payload would pass MaxPayload.
func AppendFrame(b []byte, m Message) ([]byte, error) {
	start := len(b)
	b = append(b, Version, byte(m.Type()), 0, 0, 0, 0, 0, 0)
	b = m.AppendPayload(b)
	size := len(b) - start - HeaderSize
	if size > MaxPayload {
		return b[:start], fmt.Errorf("%w: %s of %d bytes, limit %d", ErrTooLarge, m.Type(), size, MaxPayload)
	}
	binary.BigEndian.PutUint32(b[start+4:], uint32(size))
	return b, nil
}

// Decode reads the payload of a frame into the message of its type: a pointer
// to the typed message where there is one, else an *Opaque. The message shares
// the payload's memory. On a *FieldError it holds every field that could be
// read; on ErrUnknownType, ErrMsgpack and ErrNotMap there is none.
func (f Frame) Decode() (Message, error) {
	if !f.Type.Known() {
		return nil, fmt.Errorf("%w: %s", ErrUnknownType, f.Type)
	}
	m := newMessage(f.Type)
	if err := m.Decode(f.Payload); err != nil {
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
