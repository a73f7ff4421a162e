package wire

import "github.com/macula-mesh/macula-node/compat/wire/internal/fields"

// Connect introduces the sender. An Erlang node crashes on one without
// Endpoint, so it is always written, be it empty.
type Connect struct {
	Version      string   // ProtocolVersion
	NodeID       []byte   // any length up to MaxField; 64 hexadecimal digits from Erlang
	RealmID      string   // the realm that the sender serves; stated, not proven
	Endpoint     string   // "https://host:port"; empty for none
	Capabilities []string // such as CapabilityRPC
	Addrs        [][]byte // the sender's multiaddrs; libp2p dialect only
	StoreID      []byte   // names the sender's store since it was begun; libp2p dialect only
}

// Type returns TypeConnect.
func (*Connect) Type() Type { return TypeConnect }

func (m *Connect) fields(c *fields.Codec) {
	c.Text("version", &m.Version, MaxField, fields.Always)
	c.Bytes("node_id", &m.NodeID, MaxField, fields.Required)
	c.TextThere("realm_id", &m.RealmID, MaxField, &c.Seen[0])
	c.Text("endpoint", &m.Endpoint, MaxField, fields.Always)
	c.Texts("capabilities", &m.Capabilities, MaxAddrs)
	c.ByteList("addrs", &m.Addrs, MaxAddrs, MaxField)
	c.Bytes("store_id", &m.StoreID, MaxField, fields.Optional)
}

// AppendPayload implements Message.
func (m *Connect) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// node_id and realm_id.
func (m *Connect) Decode(b []byte) error {
	*m = Connect{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeConnect, c.Done())
}

// Disconnect says why the sender ends the session.
type Disconnect struct {
	Reason  string // a word, such as "normal" or ReasonRealmMismatch
	Message string // for people
}

// Type returns TypeDisconnect.
func (*Disconnect) Type() Type { return TypeDisconnect }

func (m *Disconnect) fields(c *fields.Codec) {
	c.Text("reason", &m.Reason, MaxField, fields.Always)
	c.Text("message", &m.Message, MaxPayload, fields.Always)
}

// AppendPayload implements Message.
func (m *Disconnect) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload.
func (m *Disconnect) Decode(b []byte) error {
	*m = Disconnect{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeDisconnect, c.Done())
}

// Ping asks for a Pong with the same timestamp.
type Ping struct {
	Timestamp Opt[int64] // the sender's, in its own unit
}

// Type returns TypePing.
func (*Ping) Type() Type { return TypePing }

func (m *Ping) fields(c *fields.Codec) {
	c.OptInt("timestamp", &m.Timestamp)
}

// AppendPayload implements Message.
func (m *Ping) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload.
func (m *Ping) Decode(b []byte) error {
	*m = Ping{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypePing, c.Done())
}

// Pong answers Ping and Connect. The fields from NodeID on are there in the
// answer to Connect only.
type Pong struct {
	Timestamp  Opt[int64] // the Ping's; ms since 1970 in the answer to Connect
	ServerTime Opt[int64] // ms since 1970
	NodeID     []byte     // 32 bytes
	Endpoint   string     // "https://host:port"; written, be it empty, with NodeID
	RealmID    string     // libp2p dialect only
	Addrs      [][]byte   // multiaddrs; libp2p dialect only
	StoreID    []byte     // as in Connect; libp2p dialect only
}

// Type returns TypePong.
func (*Pong) Type() Type { return TypePong }

func (m *Pong) fields(c *fields.Codec) {
	c.OptInt("timestamp", &m.Timestamp)
	c.OptInt("server_time", &m.ServerTime)
	c.Bytes("node_id", &m.NodeID, MaxField, fields.Optional)
	if c.When(m.NodeID != nil) {
		c.Text("endpoint", &m.Endpoint, MaxField, fields.Always)
	}
	c.Text("realm_id", &m.RealmID, MaxField, fields.Optional)
	c.ByteList("addrs", &m.Addrs, MaxAddrs, MaxField)
	c.Bytes("store_id", &m.StoreID, MaxField, fields.Optional)
}

// AppendPayload implements Message.
func (m *Pong) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares.
func (m *Pong) Decode(b []byte) error {
	*m = Pong{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypePong, c.Done())
}

// NATProbe asks under which address the sender is seen.
type NATProbe struct {
	NodeID    []byte
	LocalPort Opt[int64]
	RequestID []byte // comes back in the reply
}

// Type returns TypeNATProbe.
func (*NATProbe) Type() Type { return TypeNATProbe }

func (m *NATProbe) fields(c *fields.Codec) {
	c.Bytes("node_id", &m.NodeID, MaxField, fields.Optional)
	c.OptInt("local_port", &m.LocalPort)
	c.Bytes("request_id", &m.RequestID, MaxField, fields.Optional)
}

// AppendPayload implements Message.
func (m *NATProbe) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares.
func (m *NATProbe) Decode(b []byte) error {
	*m = NATProbe{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeNATProbe, c.Done())
}

// NATProbeReply tells the address under which the asker is seen.
type NATProbeReply struct {
	NodeID        []byte // the answering node's, 32 bytes
	RequestID     []byte
	ReflexiveIP   string // such as "192.0.2.7"
	ReflexivePort int64
	ServerTime    Opt[int64] // ms since 1970
}

// Type returns TypeNATProbeReply.
func (*NATProbeReply) Type() Type { return TypeNATProbeReply }

func (m *NATProbeReply) fields(c *fields.Codec) {
	c.Bytes("node_id", &m.NodeID, MaxField, fields.Optional)
	c.Bytes("request_id", &m.RequestID, MaxField, fields.Optional)
	c.Text("reflexive_ip", &m.ReflexiveIP, MaxField, fields.Always)
	c.Int("reflexive_port", &m.ReflexivePort)
	c.OptInt("server_time", &m.ServerTime)
}

// AppendPayload implements Message.
func (m *NATProbeReply) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares.
func (m *NATProbeReply) Decode(b []byte) error {
	*m = NATProbeReply{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeNATProbeReply, c.Done())
}
