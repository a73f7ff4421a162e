package wire

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

func (m *Connect) fields(c *codec) {
	c.text("version", &m.Version, MaxField, always)
	c.bytes("node_id", &m.NodeID, MaxField, required)
	c.textThere("realm_id", &m.RealmID, MaxField, &c.realm)
	c.text("endpoint", &m.Endpoint, MaxField, always)
	c.texts("capabilities", &m.Capabilities, MaxAddrs)
	c.byteList("addrs", &m.Addrs, MaxAddrs)
	c.bytes("store_id", &m.StoreID, MaxField, optional)
}

// AppendPayload implements Message.
func (m *Connect) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// node_id and realm_id.
func (m *Connect) Decode(b []byte) error {
	*m = Connect{}
	c := decode(TypeConnect, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// Disconnect says why the sender ends the session.
type Disconnect struct {
	Reason  string // a word, such as "normal" or ReasonRealmMismatch
	Message string // for people
}

// Type returns TypeDisconnect.
func (*Disconnect) Type() Type { return TypeDisconnect }

func (m *Disconnect) fields(c *codec) {
	c.text("reason", &m.Reason, MaxField, always)
	c.text("message", &m.Message, MaxPayload, always)
}

// AppendPayload implements Message.
func (m *Disconnect) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload.
func (m *Disconnect) Decode(b []byte) error {
	*m = Disconnect{}
	c := decode(TypeDisconnect, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// Ping asks for a Pong with the same timestamp.
type Ping struct {
	Timestamp Opt[int64] // the sender's, in its own unit
}

// Type returns TypePing.
func (*Ping) Type() Type { return TypePing }

func (m *Ping) fields(c *codec) {
	c.optInt("timestamp", &m.Timestamp)
}

// AppendPayload implements Message.
func (m *Ping) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload.
func (m *Ping) Decode(b []byte) error {
	*m = Ping{}
	c := decode(TypePing, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
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

func (m *Pong) fields(c *codec) {
	c.optInt("timestamp", &m.Timestamp)
	c.optInt("server_time", &m.ServerTime)
	c.bytes("node_id", &m.NodeID, MaxField, optional)
	if c.when(m.NodeID != nil) {
		c.text("endpoint", &m.Endpoint, MaxField, always)
	}
	c.text("realm_id", &m.RealmID, MaxField, optional)
	c.byteList("addrs", &m.Addrs, MaxAddrs)
	c.bytes("store_id", &m.StoreID, MaxField, optional)
}

// AppendPayload implements Message.
func (m *Pong) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares.
func (m *Pong) Decode(b []byte) error {
	*m = Pong{}
	c := decode(TypePong, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// NATProbe asks under which address the sender is seen.
type NATProbe struct {
	NodeID    []byte
	LocalPort Opt[int64]
	RequestID []byte // comes back in the reply
}

// Type returns TypeNATProbe.
func (*NATProbe) Type() Type { return TypeNATProbe }

func (m *NATProbe) fields(c *codec) {
	c.bytes("node_id", &m.NodeID, MaxField, optional)
	c.optInt("local_port", &m.LocalPort)
	c.bytes("request_id", &m.RequestID, MaxField, optional)
}

// AppendPayload implements Message.
func (m *NATProbe) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares.
func (m *NATProbe) Decode(b []byte) error {
	*m = NATProbe{}
	c := decode(TypeNATProbe, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
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

func (m *NATProbeReply) fields(c *codec) {
	c.bytes("node_id", &m.NodeID, MaxField, optional)
	c.bytes("request_id", &m.RequestID, MaxField, optional)
	c.text("reflexive_ip", &m.ReflexiveIP, MaxField, always)
	c.int("reflexive_port", &m.ReflexivePort)
	c.optInt("server_time", &m.ServerTime)
}

// AppendPayload implements Message.
func (m *NATProbeReply) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares.
func (m *NATProbeReply) Decode(b []byte) error {
	*m = NATProbeReply{}
	c := decode(TypeNATProbeReply, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}
