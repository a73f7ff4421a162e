package wire

import "github.com/tinylib/msgp/msgp"

// The values of the fields type and result in the DHT's messages.
const (
	typeError  = "error"
	resultHit  = "value"
	resultMiss = "nodes"
)

// Reasons in replies that are errors.
const (
	ReasonMissingKey    = "missing_key"
	ReasonInvalidKey    = "invalid_key"
	ReasonMissingTarget = "missing_target"
	ReasonInvalidTarget = "invalid_target"
	ReasonBusy          = "busy"
)

// Node is a peer as replies list it.
type Node struct {
	ID       []byte   // as the peer sent it
	Address  string   // its endpoint, "https://host:port" or empty
	LastSeen int64    // ms since 1970
	Addrs    [][]byte // multiaddrs with /p2p; libp2p dialect only
}

func (n *Node) append(b []byte) []byte {
	p := beginPayload(b)
	p.bytes("node_id", n.ID)
	p.text("address", n.Address)
	p.int("last_seen", n.LastSeen)
	p.byteList("addrs", n.Addrs)
	return p.b
}

// nodes takes a list of nodes, and reports whether it is there. One that is not
// a map with a node_id, or more than MaxNodes of them, make the field a mistyped
// one.
func (f *fields) nodes() (nodes []Node, there bool) {
	there = f.list(func(e Raw) bool {
		if len(nodes) == MaxNodes {
			f.mistyped("more than the 20 that a reply may list")
			return false
		}
		if e.Kind() != Map {
			f.mistyped("an element that is not a map")
			return false
		}
		var n Node
		sub := readFields(f.typ, e)
		for sub.next() {
			switch string(sub.key) {
			case "node_id":
				n.ID = sub.bytes(MaxField)
			case "address":
				n.Address = sub.text(MaxField)
			case "last_seen":
				n.LastSeen = sub.int().V
			case "addrs":
				n.Addrs = sub.byteList(MaxAddrs)
			default:
				sub.skip()
			}
		}
		sub.need("node_id", n.ID != nil)
		if err := sub.done(); err != nil {
			if f.clean() {
				f.mistyped(err.Error())
			}
			return false
		}
		nodes = append(nodes, n)
		return true
	})
	return nodes, there
}

// ints takes a list of integers, and what is beyond limit of them not.
func (f *fields) ints(limit int) []int64 {
	v := f.take(readable)
	if f.err != nil {
		return nil
	}
	ints, ok := v.ints(limit)
	if !ok {
		f.not(v, "a list of integers")
	}
	return ints
}

func (p *payload) nodes(nodes []Node) {
	p.list("nodes", len(nodes))
	for i := range nodes {
		p.b = nodes[i].append(p.b)
	}
}

func (p *payload) failure(reason string) {
	p.text("type", typeError)
	p.text("reason", reason)
}

// FindNode asks for the nodes nearest to Target.
type FindNode struct {
	Target []byte // any length; other than 32 bytes it is hashed for the distance
}

// Type returns TypeFindNode.
func (*FindNode) Type() Type { return TypeFindNode }

// AppendPayload implements Message. It writes the field type, without which an
// Erlang node answers unknown_message.
func (m *FindNode) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.text("type", "find_node")
	p.bytes("target", m.Target)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// target.
func (m *FindNode) Decode(b []byte) error {
	*m = FindNode{}
	f := readFields(TypeFindNode, b)
	for f.next() {
		switch string(f.key) {
		case "target":
			m.Target = f.bytes(MaxField)
		default:
			f.skip()
		}
	}
	f.need("target", m.Target != nil)
	return f.done()
}

// FindNodeReply lists the nearest nodes, nearest first, or says why not.
type FindNodeReply struct {
	Nodes  []Node // at most MaxNodes
	Reason string // such as ReasonMissingTarget; empty for a list
}

// Type returns TypeFindNodeReply.
func (*FindNodeReply) Type() Type { return TypeFindNodeReply }

// AppendPayload implements Message.
func (m *FindNodeReply) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	if m.Reason != "" {
		p.failure(m.Reason)
		return p.b
	}
	p.text("type", "find_node_reply")
	p.nodes(m.Nodes)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// nodes or reason.
func (m *FindNodeReply) Decode(b []byte) error {
	*m = FindNodeReply{}
	f := readFields(TypeFindNodeReply, b)
	listed := false
	for f.next() {
		switch string(f.key) {
		case "nodes":
			m.Nodes, listed = f.nodes()
		case "reason":
			m.Reason = f.text(MaxField)
		default:
			f.skip()
		}
	}
	f.need("nodes", listed || m.Reason != "")
	return f.done()
}

// Store asks to keep a value under a key. It is never answered.
type Store struct {
	Key   []byte
	Value Raw // see ParseValue
}

// Type returns TypeStore.
func (*Store) Type() Type { return TypeStore }

// AppendPayload implements Message.
func (m *Store) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.text("type", "store")
	p.bytes("key", m.Key)
	p.raw("value", m.Value)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs key
// and value; whether the value may be stored is for ParseValue to say.
func (m *Store) Decode(b []byte) error {
	*m = Store{}
	f := readFields(TypeStore, b)
	for f.next() {
		switch string(f.key) {
		case "key":
			m.Key = f.bytes(MaxField)
		case "value":
			m.Value = f.raw()
		default:
			f.skip()
		}
	}
	f.need("key", m.Key != nil)
	f.need("value", m.Value != nil)
	return f.done()
}

// FindValue asks for the values stored under Key.
type FindValue struct {
	Key []byte
}

// Type returns TypeFindValue.
func (*FindValue) Type() Type { return TypeFindValue }

// AppendPayload implements Message.
func (m *FindValue) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	p.bytes("key", m.Key)
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// key.
func (m *FindValue) Decode(b []byte) error {
	*m = FindValue{}
	f := readFields(TypeFindValue, b)
	for f.next() {
		switch string(f.key) {
		case "key":
			m.Key = f.bytes(MaxField)
		default:
			f.skip()
		}
	}
	f.need("key", m.Key != nil)
	return f.done()
}

// FindValueReply is a hit (Values), a miss (Nodes, be it empty) or an error
// (Reason).
type FindValueReply struct {
	Values    []Raw   // one map a provider
	ExpiresIn []int64 // seconds left of each value; libp2p dialect only
	Nodes     []Node  // the nearest nodes; always empty towards an Erlang node, which crashes otherwise
	Reason    string  // such as ReasonMissingKey
}

// Type returns TypeFindValueReply.
func (*FindValueReply) Type() Type { return TypeFindValueReply }

// AppendPayload implements Message.
func (m *FindValueReply) AppendPayload(b []byte) []byte {
	p := beginPayload(b)
	if m.Reason != "" {
		p.failure(m.Reason)
		return p.b
	}
	p.text("type", "find_value_reply")
	if len(m.Values) == 0 {
		p.text("result", resultMiss)
		p.nodes(m.Nodes)
		return p.b
	}
	p.text("result", resultHit)
	p.list("value", len(m.Values))
	for _, v := range m.Values {
		p.b = appendRaw(p.b, v)
	}
	if len(m.ExpiresIn) > 0 {
		p.key("expires_in")
		p.b = msgp.AppendArrayHeader(p.b, uint32(len(m.ExpiresIn)))
		for _, s := range m.ExpiresIn {
			p.b = appendInt(p.b, s)
		}
	}
	return p.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// value, nodes or reason; expires_in must be as long as value where it is
// there. Of both lists the first MaxValues are read.
func (m *FindValueReply) Decode(b []byte) error {
	*m = FindValueReply{}
	f := readFields(TypeFindValueReply, b)
	hit, miss := false, false
	for f.next() {
		switch string(f.key) {
		case "value":
			m.Values = nil
			hit = f.list(func(e Raw) bool {
				m.Values = append(m.Values, e)
				return len(m.Values) < MaxValues
			})
		case "expires_in":
			m.ExpiresIn = f.ints(MaxValues)
		case "nodes":
			m.Nodes, miss = f.nodes()
		case "reason":
			m.Reason = f.text(MaxField)
		default:
			f.skip()
		}
	}
	f.need("value", hit || miss || m.Reason != "")
	if len(m.ExpiresIn) > 0 && len(m.ExpiresIn) != len(m.Values) {
		f.note("expires_in", "not as long as value", ErrMistypedField)
		m.ExpiresIn = nil
	}
	return f.done()
}
