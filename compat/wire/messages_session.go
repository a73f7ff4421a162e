package wire

// Connect introduces the sender. An Erlang node crashes on one without
// Endpoint, so it is always written, be it empty.
type Connect struct {
	Version      string   // "1.0"
	NodeID       []byte   // any length up to MaxField; 64 hexadecimal digits from Erlang
	RealmID      string   // the realm that the sender serves; stated, not proven
	Endpoint     string   // "https://host:port"; empty for none
	Capabilities []string // such as "pubsub" and "rpc"
	Addrs        [][]byte // the sender's multiaddrs; libp2p dialect only
}

// Type returns TypeConnect.
func (*Connect) Type() Type { return TypeConnect }

// AppendPayload implements Message.
func (m *Connect) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.text("version", m.Version)
	p.bytes("node_id", m.NodeID)
	p.text("realm_id", m.RealmID)
	p.text("endpoint", m.Endpoint)
	p.texts("capabilities", m.Capabilities)
	p.byteList("addrs", m.Addrs)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// node_id and realm_id.
func (m *Connect) Decode(b []byte) error {
	*m = Connect{}
	f := readFields(TypeConnect, b)
	realm := false
	for f.next() {
		switch string(f.key) {
		case "version":
			m.Version = f.text(MaxField)
		case "node_id":
			m.NodeID = f.bytes(MaxField)
		case "realm_id":
			v := f.bytes(MaxField)
			m.RealmID, realm = string(v), v != nil
		case "endpoint":
			m.Endpoint = f.text(MaxField)
		case "capabilities":
			m.Capabilities = f.texts(MaxAddrs)
		case "addrs":
			m.Addrs = f.byteList(MaxAddrs)
		default:
			f.skip()
		}
	}
	f.need("node_id", m.NodeID != nil)
	f.need("realm_id", realm)
	return f.done()
}

// Disconnect says why the sender ends the session.
type Disconnect struct {
	Reason  string // a word, such as "normal" or "realm_mismatch"
	Message string // for people
}

// Type returns TypeDisconnect.
func (*Disconnect) Type() Type { return TypeDisconnect }

// AppendPayload implements Message.
func (m *Disconnect) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.text("reason", m.Reason)
	p.text("message", m.Message)
	return p.b
}

// Decode reads the message from a payload.
func (m *Disconnect) Decode(b []byte) error {
	*m = Disconnect{}
	f := readFields(TypeDisconnect, b)
	for f.next() {
		switch string(f.key) {
		case "reason":
			m.Reason = f.text(MaxField)
		case "message":
			m.Message = f.text(MaxPayload)
		default:
			f.skip()
		}
	}
	return f.done()
}

// Ping asks for a Pong with the same timestamp.
type Ping struct {
	Timestamp Opt[int64] // the sender's, in its own unit
}

// Type returns TypePing.
func (*Ping) Type() Type { return TypePing }

// AppendPayload implements Message.
func (m *Ping) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.optInt("timestamp", m.Timestamp)
	return p.b
}

// Decode reads the message from a payload.
func (m *Ping) Decode(b []byte) error {
	*m = Ping{}
	f := readFields(TypePing, b)
	for f.next() {
		switch string(f.key) {
		case "timestamp":
			m.Timestamp = f.int()
		default:
			f.skip()
		}
	}
	return f.done()
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
}

// Type returns TypePong.
func (*Pong) Type() Type { return TypePong }

// AppendPayload implements Message.
func (m *Pong) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.optInt("timestamp", m.Timestamp)
	p.optInt("server_time", m.ServerTime)
	if m.NodeID != nil {
		p.bytes("node_id", m.NodeID)
		p.text("endpoint", m.Endpoint)
	}
	p.optText("realm_id", m.RealmID)
	p.byteList("addrs", m.Addrs)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares.
func (m *Pong) Decode(b []byte) error {
	*m = Pong{}
	f := readFields(TypePong, b)
	for f.next() {
		switch string(f.key) {
		case "timestamp":
			m.Timestamp = f.int()
		case "server_time":
			m.ServerTime = f.int()
		case "node_id":
			m.NodeID = f.bytes(MaxField)
		case "endpoint":
			m.Endpoint = f.text(MaxField)
		case "realm_id":
			m.RealmID = f.text(MaxField)
		case "addrs":
			m.Addrs = f.byteList(MaxAddrs)
		default:
			f.skip()
		}
	}
	return f.done()
}

// NATProbe asks under which address the sender is seen.
type NATProbe struct {
	NodeID    []byte
	LocalPort Opt[int64]
	RequestID []byte // comes back in the reply
}

// Type returns TypeNATProbe.
func (*NATProbe) Type() Type { return TypeNATProbe }

// AppendPayload implements Message.
func (m *NATProbe) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.bytes("node_id", m.NodeID)
	p.optInt("local_port", m.LocalPort)
	p.bytes("request_id", m.RequestID)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares.
func (m *NATProbe) Decode(b []byte) error {
	*m = NATProbe{}
	f := readFields(TypeNATProbe, b)
	for f.next() {
		switch string(f.key) {
		case "node_id":
			m.NodeID = f.bytes(MaxField)
		case "local_port":
			m.LocalPort = f.int()
		case "request_id":
			m.RequestID = f.bytes(MaxField)
		default:
			f.skip()
		}
	}
	return f.done()
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

// AppendPayload implements Message.
func (m *NATProbeReply) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.bytes("node_id", m.NodeID)
	p.bytes("request_id", m.RequestID)
	p.text("reflexive_ip", m.ReflexiveIP)
	p.int("reflexive_port", m.ReflexivePort)
	p.optInt("server_time", m.ServerTime)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares.
func (m *NATProbeReply) Decode(b []byte) error {
	*m = NATProbeReply{}
	f := readFields(TypeNATProbeReply, b)
	for f.next() {
		switch string(f.key) {
		case "node_id":
			m.NodeID = f.bytes(MaxField)
		case "request_id":
			m.RequestID = f.bytes(MaxField)
		case "reflexive_ip":
			m.ReflexiveIP = f.text(MaxField)
		case "reflexive_port":
			m.ReflexivePort = f.int().V
		case "server_time":
			m.ServerTime = f.int()
		default:
			f.skip()
		}
	}
	return f.done()
}
