package wire

import "github.com/macula-mesh/macula-node/compat/wire/internal/fields"

const maxTopics = 1024 // of one subscription; what is beyond is not read

// Publish hands a payload to the subscribers of a topic.
type Publish struct {
	Topic     string
	Payload   Raw // JSON text as a bin from clients, any value from gateways
	QoS       int64
	Retain    bool
	MessageID []byte // 16 bytes
}

// Type returns TypePublish.
func (*Publish) Type() Type { return TypePublish }

func (m *Publish) fields(c *fields.Codec) {
	c.Text("topic", &m.Topic, MaxField, fields.Always|fields.Required)
	c.Raw("payload", &m.Payload, fields.Optional)
	c.Int("qos", &m.QoS)
	c.Bool("retain", &m.Retain)
	c.Bytes("message_id", &m.MessageID, MaxField, fields.Optional)
}

// AppendPayload implements Message.
func (m *Publish) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// topic.
func (m *Publish) Decode(b []byte) error {
	*m = Publish{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypePublish, c.Done())
}

// Subscribe asks for what is published under topics.
type Subscribe struct {
	Topics []string // may hold the pattern "*"
	QoS    int64
}

// Type returns TypeSubscribe.
func (*Subscribe) Type() Type { return TypeSubscribe }

func (m *Subscribe) fields(c *fields.Codec) {
	c.Texts("topics", &m.Topics, maxTopics)
	c.Int("qos", &m.QoS)
}

// AppendPayload implements Message.
func (m *Subscribe) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload.
func (m *Subscribe) Decode(b []byte) error {
	*m = Subscribe{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeSubscribe, c.Done())
}

// Unsubscribe ends what Subscribe asked for.
type Unsubscribe struct {
	Topics []string
}

// Type returns TypeUnsubscribe.
func (*Unsubscribe) Type() Type { return TypeUnsubscribe }

func (m *Unsubscribe) fields(c *fields.Codec) {
	c.Texts("topics", &m.Topics, maxTopics)
}

// AppendPayload implements Message.
func (m *Unsubscribe) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload.
func (m *Unsubscribe) Decode(b []byte) error {
	*m = Unsubscribe{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeUnsubscribe, c.Done())
}

// PubSubRoute carries a publication to another node.
type PubSubRoute struct {
	Route
	Topic string
}

// Type returns TypePubSubRoute.
func (*PubSubRoute) Type() Type { return TypePubSubRoute }

func (m *PubSubRoute) fields(c *fields.Codec) {
	m.Route.fields(c)
	c.Text("topic", &m.Topic, MaxField, fields.Always)
}

// AppendPayload implements Message.
func (m *PubSubRoute) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// destination_node_id.
func (m *PubSubRoute) Decode(b []byte) error {
	*m = PubSubRoute{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypePubSubRoute, c.Done())
}
