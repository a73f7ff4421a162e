package wire

import (
	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Node is a peer as replies list it.
type Node struct {
	ID       []byte   // as the peer sent it
	Address  string   // its endpoint, "https://host:port" or empty
	LastSeen int64    // ms since 1970
	Addrs    [][]byte // multiaddrs with /p2p; libp2p dialect only
}

func (n *Node) fields(c *codec) {
	c.bytes("node_id", &n.ID, MaxField, required)
	c.text("address", &n.Address, MaxField, always)
	c.int("last_seen", &n.LastSeen)
	c.byteList("addrs", &n.Addrs, MaxAddrs)
}

// nodes is a list of nodes; there is told whether it came. One that is not a map
// with a node_id, or more than MaxNodes of them, make it a mistyped field.
func (c *codec) nodes(name string, v *[]Node, there *bool) {
	switch {
	case c.phase == writing:
		c.b = msgp.AppendArrayHeader(c.named(name), uint32(len(*v)))
		for i := range *v {
			outer := c.open()
			(*v)[i].fields(c)
			c.begin = outer
		}
	case c.at(name):
		*v = nil
		*there = c.takeList(func(t msgpack.Token, e Raw) bool { return c.node(v, t, e) })
		c.next()
	}
}

// node reads an element of a list of nodes, and reports whether it is one.
func (c *codec) node(nodes *[]Node, t msgpack.Token, e Raw) bool {
	if len(*nodes) == MaxNodes {
		c.mistyped("more than the 20 that a reply may list")
		return false
	}
	if t.Kind != Map {
		c.mistyped("an element that is not a map")
		return false
	}
	var n Node
	sub := decode(c.typ, e)
	for sub.pass() {
		n.fields(&sub)
	}
	if err := sub.done(); err != nil {
		if c.clean() {
			c.mistyped(err.Error())
		}
		return false
	}
	*nodes = append(*nodes, n)
	return true
}

// failure is all that a reply holds that is an error.
func (c *codec) failure(reason string) {
	c.constant("type", typeError)
	c.constant("reason", reason)
}

// FindNode asks for the nodes nearest to Target.
type FindNode struct {
	Target []byte // any length; other than 32 bytes it is hashed for the distance
}

// Type returns TypeFindNode.
func (*FindNode) Type() Type { return TypeFindNode }

func (m *FindNode) fields(c *codec) {
	c.constant("type", "find_node")
	c.bytes("target", &m.Target, MaxField, required)
}

// AppendPayload implements Message. It writes the field type, without which an
// Erlang node answers unknown_message.
func (m *FindNode) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// target.
func (m *FindNode) Decode(b []byte) error {
	*m = FindNode{}
	c := decode(TypeFindNode, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// FindNodeReply lists the nearest nodes, nearest first, or says why not.
type FindNodeReply struct {
	Nodes  []Node // at most MaxNodes
	Reason string // such as ReasonMissingTarget; empty for a list
}

// Type returns TypeFindNodeReply.
func (*FindNodeReply) Type() Type { return TypeFindNodeReply }

func (m *FindNodeReply) fields(c *codec) {
	if m.Reason != "" && c.phase == writing {
		c.failure(m.Reason)
		return
	}
	c.constant("type", "find_node_reply")
	c.nodes("nodes", &m.Nodes, &c.listed)
	c.text("reason", &m.Reason, MaxField, optional)
	c.need("nodes", c.listed || m.Reason != "")
}

// AppendPayload implements Message.
func (m *FindNodeReply) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// nodes or reason.
func (m *FindNodeReply) Decode(b []byte) error {
	*m = FindNodeReply{}
	c := decode(TypeFindNodeReply, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// Store asks to keep a value under a key. It is never answered.
type Store struct {
	Key   []byte
	Value Raw // see ParseValue
}

// Type returns TypeStore.
func (*Store) Type() Type { return TypeStore }

func (m *Store) fields(c *codec) {
	c.constant("type", "store")
	c.bytes("key", &m.Key, MaxField, required)
	c.raw("value", &m.Value, required)
}

// AppendPayload implements Message.
func (m *Store) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs key
// and value; whether the value may be stored is for ParseValue to say.
func (m *Store) Decode(b []byte) error {
	*m = Store{}
	c := decode(TypeStore, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
}

// FindValue asks for the values stored under Key.
type FindValue struct {
	Key []byte
}

// Type returns TypeFindValue.
func (*FindValue) Type() Type { return TypeFindValue }

func (m *FindValue) fields(c *codec) {
	c.bytes("key", &m.Key, MaxField, required)
}

// AppendPayload implements Message.
func (m *FindValue) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// key.
func (m *FindValue) Decode(b []byte) error {
	*m = FindValue{}
	c := decode(TypeFindValue, b)
	for c.pass() {
		m.fields(&c)
	}
	return c.done()
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

func (m *FindValueReply) fields(c *codec) {
	if m.Reason != "" && c.phase == writing {
		c.failure(m.Reason)
		return
	}
	hit, result := len(m.Values) > 0, resultMiss
	if hit {
		result = resultHit
	}
	c.constant("type", "find_value_reply")
	c.constant("result", result)
	if c.when(hit) {
		c.raws("value", &m.Values, MaxValues, &c.hit)
		c.ints("expires_in", &m.ExpiresIn, MaxValues)
	}
	if c.when(!hit) {
		c.nodes("nodes", &m.Nodes, &c.listed)
	}
	c.text("reason", &m.Reason, MaxField, optional)
	c.need("value", c.hit || c.listed || m.Reason != "")
}

// AppendPayload implements Message.
func (m *FindValueReply) AppendPayload(b []byte) []byte {
	c := encode(b)
	m.fields(&c)
	return c.b
}

// Decode reads the message from a payload, whose memory it shares. It needs
// value, nodes or reason; expires_in must be as long as value where it is
// there. Of both lists the first MaxValues are read.
func (m *FindValueReply) Decode(b []byte) error {
	*m = FindValueReply{}
	c := decode(TypeFindValueReply, b)
	for c.pass() {
		m.fields(&c)
	}
	if len(m.ExpiresIn) > 0 && len(m.ExpiresIn) != len(m.Values) {
		c.note("expires_in", "not as long as value", ErrMistypedField)
		m.ExpiresIn = nil
	}
	return c.done()
}
