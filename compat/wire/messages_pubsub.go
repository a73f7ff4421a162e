package wire

const maxTopics = 1024 // of one subscription; what is beyond is not read

// Publish hands a payload to the subscribers of a topic.
type Publish struct {
	Topic     string
	Payload   []byte
	QoS       int64
	Retain    bool
	MessageID []byte // 16 bytes
}

// Type returns TypePublish.
func (*Publish) Type() Type { return TypePublish }

// AppendPayload implements Message.
func (m *Publish) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.text("topic", m.Topic)
	p.bytes("payload", m.Payload)
	p.int("qos", m.QoS)
	p.bool("retain", m.Retain)
	p.bytes("message_id", m.MessageID)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// topic.
func (m *Publish) Decode(b []byte) error {
	*m = Publish{}
	f := readFields(TypePublish, b)
	for f.next() {
		switch string(f.key) {
		case "topic":
			m.Topic = f.text(MaxField)
		case "payload":
			m.Payload = f.bytes(MaxPayload)
		case "qos":
			m.QoS = f.int().V
		case "retain":
			m.Retain = f.bool()
		case "message_id":
			m.MessageID = f.bytes(MaxField)
		default:
			f.skip()
		}
	}
	f.need("topic", m.Topic != "")
	return f.done()
}

// Subscribe asks for what is published under topics.
type Subscribe struct {
	Topics []string // may hold the pattern "*"
	QoS    int64
}

// Type returns TypeSubscribe.
func (*Subscribe) Type() Type { return TypeSubscribe }

// AppendPayload implements Message.
func (m *Subscribe) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.texts("topics", m.Topics)
	p.int("qos", m.QoS)
	return p.b
}

// Decode reads the message from a payload.
func (m *Subscribe) Decode(b []byte) error {
	*m = Subscribe{}
	f := readFields(TypeSubscribe, b)
	for f.next() {
		switch string(f.key) {
		case "topics":
			m.Topics = f.texts(maxTopics)
		case "qos":
			m.QoS = f.int().V
		default:
			f.skip()
		}
	}
	return f.done()
}

// Unsubscribe ends what Subscribe asked for.
type Unsubscribe struct {
	Topics []string
}

// Type returns TypeUnsubscribe.
func (*Unsubscribe) Type() Type { return TypeUnsubscribe }

// AppendPayload implements Message.
func (m *Unsubscribe) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.texts("topics", m.Topics)
	return p.b
}

// Decode reads the message from a payload.
func (m *Unsubscribe) Decode(b []byte) error {
	*m = Unsubscribe{}
	f := readFields(TypeUnsubscribe, b)
	for f.next() {
		switch string(f.key) {
		case "topics":
			m.Topics = f.texts(maxTopics)
		default:
			f.skip()
		}
	}
	return f.done()
}

// PubSubRoute carries a publication to another node.
type PubSubRoute struct {
	Route
	Topic string
}

// Type returns TypePubSubRoute.
func (*PubSubRoute) Type() Type { return TypePubSubRoute }

// AppendPayload implements Message.
func (m *PubSubRoute) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	m.append(&p)
	p.text("topic", m.Topic)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// destination_node_id.
func (m *PubSubRoute) Decode(b []byte) error {
	*m = PubSubRoute{}
	f := readFields(TypePubSubRoute, b)
	for f.next() {
		switch {
		case m.take(&f):
		case string(f.key) == "topic":
			m.Topic = f.text(MaxField)
		default:
			f.skip()
		}
	}
	f.need("destination_node_id", m.Destination != nil)
	return f.done()
}
