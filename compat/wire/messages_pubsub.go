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

func (m *Publish) fields(c *codec) {
	c.text("topic", &m.Topic, MaxField, always|required)
	c.bytes("payload", &m.Payload, MaxPayload, optional)
	c.int("qos", &m.QoS)
	c.bool("retain", &m.Retain)
	c.bytes("message_id", &m.MessageID, MaxField, optional)
}

// AppendPayload implements Message.
func (m *Publish) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// topic.
func (m *Publish) Decode(b []byte) error {
	*m = Publish{}
	c := decode(TypePublish, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// Subscribe asks for what is published under topics.
type Subscribe struct {
	Topics []string // may hold the pattern "*"
	QoS    int64
}

// Type returns TypeSubscribe.
func (*Subscribe) Type() Type { return TypeSubscribe }

func (m *Subscribe) fields(c *codec) {
	c.texts("topics", &m.Topics, maxTopics)
	c.int("qos", &m.QoS)
}

// AppendPayload implements Message.
func (m *Subscribe) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload.
func (m *Subscribe) Decode(b []byte) error {
	*m = Subscribe{}
	c := decode(TypeSubscribe, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// Unsubscribe ends what Subscribe asked for.
type Unsubscribe struct {
	Topics []string
}

// Type returns TypeUnsubscribe.
func (*Unsubscribe) Type() Type { return TypeUnsubscribe }

func (m *Unsubscribe) fields(c *codec) {
	c.texts("topics", &m.Topics, maxTopics)
}

// AppendPayload implements Message.
func (m *Unsubscribe) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload.
func (m *Unsubscribe) Decode(b []byte) error {
	*m = Unsubscribe{}
	c := decode(TypeUnsubscribe, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// PubSubRoute carries a publication to another node.
type PubSubRoute struct {
	Route
	Topic string
}

// Type returns TypePubSubRoute.
func (*PubSubRoute) Type() Type { return TypePubSubRoute }

func (m *PubSubRoute) fields(c *codec) {
	m.Route.fields(c)
	c.text("topic", &m.Topic, MaxField, always)
}

// AppendPayload implements Message.
func (m *PubSubRoute) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// destination_node_id.
func (m *PubSubRoute) Decode(b []byte) error {
	*m = PubSubRoute{}
	c := decode(TypePubSubRoute, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}
