package pubsub

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/fair"
)

// Message is what was published under a topic.
type Message struct {
	Topic string
	// Value is what was published, as it travels: a bin of JSON text from most Erlang
	// clients, any MessagePack value from others. It is shared: do not modify it.
	Value wire.Raw
}

// Payload returns the bytes of a message whose value is a bin or a str, else nil; see
// Message.Value. They are shared: do not modify them.
func (m Message) Payload() []byte {
	b, _ := m.Value.Bytes()
	return b
}

// errIncomplete: a PUBLISH has not what it must have.
var errIncomplete = errors.New("PUBLISH without a topic or a payload")

// message is one on its way.
type message struct {
	Message

	publish []byte   // the PUBLISH that clients are sent, a whole frame
	payload wire.Raw // the PUBLISH that is in a PUBSUB_ROUTE
	qos     int64
	by      fair.Payer // who brought it; this program where it is zero
	// charge takes frames of the budget of who brought it, and reports whether there were so
	// many; nil for this program.
	charge func(frames int) bool
}

// messageIDSize is the length of a message_id, in bytes.
const messageIDSize = 16

func newMessageID() []byte {
	id := make([]byte, messageIDSize)
	rand.Read(id) // never fails
	return id
}

// newMessage returns a message of this node's own.
func newMessage(topic string, value wire.Raw) (*message, error) {
	return build(&wire.Publish{Topic: topic, Payload: value, MessageID: newMessageID()})
}

// build returns the message that a PUBLISH is.
func build(m *wire.Publish) (*message, error) {
	frame, err := framing.AppendFrame(nil, m)
	if err != nil {
		return nil, err
	}
	return &message{Message: Message{m.Topic, m.Payload}, publish: frame, qos: m.QoS}, nil
}

// read returns the message that a PUBLISH is. One that has all that Erlang nodes want, and
// nothing else, stays as it came, byte for byte, but that with asBin every str is a bin
// then. Of others what is missing is added. The memory of b is not kept. The error is of
// package wire, or errIncomplete.
func read(b []byte, asBin bool) (*message, error) {
	if asBin {
		var err error
		if b, err = wire.TextsAsBin(b); err != nil {
			return nil, err
		}
	}
	frame, err := framing.AppendFrame(make([]byte, 0, framing.HeaderSize+len(b)), &wire.Opaque{MessageType: wire.TypePublish, Fields: b})
	if err != nil {
		return nil, err
	}
	b = frame[framing.HeaderSize:]
	var m wire.Publish
	if err := m.Decode(b); err != nil {
		if _, isField := errors.AsType[*wire.FieldError](err); !isField {
			return nil, err
		}
	}
	if m.Topic == "" || len(m.Payload) == 0 {
		return nil, errIncomplete
	}
	if err := m.Payload.Check(maxDepth); err != nil {
		return nil, err
	}
	if isWhole(b) {
		return &message{Message: Message{m.Topic, m.Payload}, publish: frame, qos: m.QoS}, nil
	}
	if m.MessageID == nil {
		m.MessageID = newMessageID()
	}
	return build(&m)
}

// maxDepth is how many levels a payload may have: a PUBLISH in a PUBSUB_ROUTE adds two.
const maxDepth = wire.MaxDepth - 2

// isWhole reports whether a PUBLISH has the five fields that an Erlang node writes and
// wants, each of its type and once, and no others.
func isWhole(b []byte) bool {
	var seen uint8
	for key, value := range wire.Raw(b).Fields() {
		name, _ := key.Bytes()
		kind := value.Kind()
		var bit uint8
		switch string(name) {
		case "topic":
			bit, kind = 1, wire.Bin
		case "message_id":
			bit, kind = 2, wire.Bin
		case "payload":
			bit = 4
		case "qos":
			bit, kind = 8, wire.Int
		case "retain":
			bit, kind = 16, wire.Bool
		}
		if bit == 0 || seen&bit != 0 || key.Kind() != wire.Bin || value.Kind() != kind {
			return false
		}
		seen |= bit
	}
	return seen == 31
}

// routed returns the PUBLISH as it goes into a PUBSUB_ROUTE: under an id of its own, and
// not to be retained. The first to call it is alone with the message.
func (m *message) routed() wire.Raw {
	if m.payload == nil {
		m.payload = (&wire.Publish{Topic: m.Topic, Payload: m.Value, QoS: m.qos, MessageID: newMessageID()}).AppendPayload(nil)
	}
	return m.payload
}

// route returns the PUBSUB_ROUTE that takes the message to a node.
func (m *message) route(from, to []byte) *wire.PubSubRoute {
	return &wire.PubSubRoute{
		Route: wire.Route{Destination: to, Source: from, MaxHops: wire.MaxHops, Payload: m.routed()},
		Topic: m.Topic,
	}
}

// size is what a message takes while it waits, in bytes.
func (m *message) size() int { return messageCost + len(m.publish) + len(m.payload) }

const messageCost = 256 // beside its bytes

// cost is what so many copies of a message take of its sender's budget, in frames: by how
// many they are, or by their bytes where these are more.
func (m *message) cost(copies int) int {
	return max(copies/copiesPerCost, min(copies*len(m.publish)/bytesPerCost, maxBytesCost))
}

// checkValue returns a value of this program's own as it travels.
func checkValue(v wire.Raw) (wire.Raw, error) {
	v, err := wire.TextsAsBin(v)
	if err == nil {
		err = v.Check(maxDepth)
	}
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return bytes.Clone(v), nil
}
