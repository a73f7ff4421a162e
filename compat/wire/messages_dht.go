package wire

import (
	"errors"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Node is a peer as replies list it.
type Node struct {
	ID       []byte   // as the peer sent it
	Address  string   // its endpoint, "https://host:port" or empty
	LastSeen int64    // ms since 1970
	Addrs    [][]byte // multiaddrs with /p2p; libp2p dialect only
}

func (n *Node) fields(c *fields.Codec) {
	c.Bytes("node_id", &n.ID, MaxField, fields.Required)
	c.Text("address", &n.Address, MaxField, fields.Always)
	c.Int("last_seen", &n.LastSeen)
	c.ByteList("addrs", &n.Addrs, MaxAddrs, MaxField)
}

// codeNodes is a list of nodes; there is told whether it came. One that is not a
// map with a node_id, or more than MaxNodes of them, make it a mistyped field.
func codeNodes(c *fields.Codec, name string, v *[]Node, there *bool) {
	switch {
	case c.Writing():
		c.List(name, len(*v))
		for i := range *v {
			outer := c.Elem()
			(*v)[i].fields(c)
			c.Close(outer)
		}
	case c.At(name):
		*v = nil
		*there = c.TakeList(func(t msgpack.Token, e Raw) bool {
			err := appendNode(v, t, e)
			if err != nil {
				c.Mistyped(name, err)
			}
			return err == nil
		})
		c.Next()
	}
}

var (
	errManyNodes = errors.New("more than the 20 that a reply may list")
	errNoNode    = errors.New("an element that is not a map")
	errNotAsLong = errors.New("not as long as value")
)

// appendNode reads an element of a list of nodes.
func appendNode(nodes *[]Node, t msgpack.Token, e Raw) error {
	if len(*nodes) == MaxNodes {
		return errManyNodes
	}
	if t.Kind != Map {
		return errNoNode
	}
	var n Node
	c := fields.Decode(e)
	for c.Pass() {
		n.fields(&c)
	}
	if err := c.Done(); err != nil {
		return err
	}
	*nodes = append(*nodes, n)
	return nil
}

// codeFailure is all that a reply holds that is an error.
func codeFailure(c *fields.Codec, reason string) {
	c.Constant("type", typeError)
	c.Constant("reason", reason)
}

// FindNode asks for the nodes nearest to Target.
type FindNode struct {
	Target []byte // any length; other than 32 bytes it is hashed for the distance
}

// Type returns TypeFindNode.
func (*FindNode) Type() Type { return TypeFindNode }

func (m *FindNode) fields(c *fields.Codec) {
	c.Constant("type", "find_node")
	c.Bytes("target", &m.Target, MaxField, fields.Required)
}

// AppendPayload implements Message. It writes the field type, without which an
// Erlang node answers unknown_message.
func (m *FindNode) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// target.
func (m *FindNode) Decode(b []byte) error {
	*m = FindNode{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeFindNode, c.Done())
}

// FindNodeReply lists the nearest nodes, nearest first, or says why not.
type FindNodeReply struct {
	Nodes  []Node // at most MaxNodes
	Reason string // such as ReasonMissingTarget; empty for a list
}

// Type returns TypeFindNodeReply.
func (*FindNodeReply) Type() Type { return TypeFindNodeReply }

func (m *FindNodeReply) fields(c *fields.Codec) {
	if m.Reason != "" && c.Writing() {
		codeFailure(c, m.Reason)
		return
	}
	listed := &c.Seen[0]
	c.Constant("type", "find_node_reply")
	codeNodes(c, "nodes", &m.Nodes, listed)
	c.Text("reason", &m.Reason, MaxField, fields.Optional)
	c.Need("nodes", *listed || m.Reason != "")
}

// AppendPayload implements Message.
func (m *FindNodeReply) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// nodes or reason.
func (m *FindNodeReply) Decode(b []byte) error {
	*m = FindNodeReply{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeFindNodeReply, c.Done())
}

// Store asks to keep a value under a key. It is never answered.
type Store struct {
	Key   []byte
	Value Raw    // see ParseValue
	Proof []byte // as in StoreArgs; libp2p dialect only
}

// Type returns TypeStore.
func (*Store) Type() Type { return TypeStore }

func (m *Store) fields(c *fields.Codec) {
	c.Constant("type", "store")
	c.Bytes("key", &m.Key, MaxField, fields.Required)
	c.Raw("value", &m.Value, fields.Optional)
	c.Bytes("proof", &m.Proof, MaxProof, fields.Optional)
	c.Need("value", m.Value != nil || len(m.Proof) > 0)
}

// AppendPayload implements Message.
func (m *Store) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs key
// and value, or a proof without one; whether the value may be stored is for ParseValue to say.
func (m *Store) Decode(b []byte) error {
	*m = Store{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeStore, c.Done())
}

// FindValue asks for the values stored under Key.
type FindValue struct {
	Key []byte
}

// Type returns TypeFindValue.
func (*FindValue) Type() Type { return TypeFindValue }

func (m *FindValue) fields(c *fields.Codec) {
	c.Bytes("key", &m.Key, MaxField, fields.Required)
}

// AppendPayload implements Message.
func (m *FindValue) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// key.
func (m *FindValue) Decode(b []byte) error {
	*m = FindValue{}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	return FieldErrorOf(TypeFindValue, c.Done())
}

// FindValueReply is a hit (Values), a miss (Nodes, be it empty) or an error
// (Reason).
type FindValueReply struct {
	Values    []Raw   // one map a provider
	ExpiresIn []int64 // seconds left of each value; libp2p dialect only
	// Proofs are those of the values, empty for one without, and Tombstones those by which
	// providers have withdrawn theirs, at most MaxTombstones; libp2p dialect only.
	Proofs, Tombstones [][]byte

	Nodes  []Node // the nearest nodes; always empty towards an Erlang node, which crashes otherwise
	Reason string // such as ReasonMissingKey
}

// Type returns TypeFindValueReply.
func (*FindValueReply) Type() Type { return TypeFindValueReply }

func (m *FindValueReply) fields(c *fields.Codec) {
	if m.Reason != "" && c.Writing() {
		codeFailure(c, m.Reason)
		return
	}
	isHit, result := len(m.Values) > 0, resultMiss
	if isHit {
		result = resultHit
	}
	hit, listed := &c.Seen[0], &c.Seen[1]
	c.Constant("type", "find_value_reply")
	c.Constant("result", result)
	if c.When(isHit) {
		c.Raws("value", &m.Values, MaxValues, hit)
		c.Ints("expires_in", &m.ExpiresIn, MaxValues)
		c.ByteList("proofs", &m.Proofs, MaxValues, MaxProof)
	}
	if c.When(!isHit) {
		codeNodes(c, "nodes", &m.Nodes, listed)
	}
	c.ByteList("tombstones", &m.Tombstones, MaxTombstones, MaxProof)
	c.Text("reason", &m.Reason, MaxField, fields.Optional)
	c.Need("value", *hit || *listed || m.Reason != "")
}

// AppendPayload implements Message.
func (m *FindValueReply) AppendPayload(b []byte) []byte {
	c := fields.Encode(b)
	m.fields(&c)
	return c.Encoded()
}

// Decode reads the message from a payload, whose memory it shares. It needs
// value, nodes or reason; expires_in and proofs must be as long as value where they are
// there. Of these lists the first MaxValues are read, into the message's own as far as
// they have room.
func (m *FindValueReply) Decode(b []byte) error {
	*m = FindValueReply{Values: m.Values[:0], ExpiresIn: m.ExpiresIn[:0], Proofs: m.Proofs[:0]}
	c := fields.Decode(b)
	for c.Pass() {
		m.fields(&c)
	}
	if len(m.ExpiresIn) > 0 && len(m.ExpiresIn) != len(m.Values) {
		c.Mistyped("expires_in", errNotAsLong)
		m.ExpiresIn = nil
	}
	if len(m.Proofs) > 0 && len(m.Proofs) != len(m.Values) {
		c.Mistyped("proofs", errNotAsLong)
		m.Proofs = nil
	}
	if len(m.Values) == 0 {
		m.Values = nil
	}
	if len(m.Proofs) == 0 {
		m.Proofs = nil
	}
	if len(m.ExpiresIn) == 0 {
		m.ExpiresIn = nil
	}
	return FieldErrorOf(TypeFindValueReply, c.Done())
}

// newFindValueReply returns a message with room for one value, which most have: its
// lists are no allocations of their own then.
func newFindValueReply() *FindValueReply {
	m := new(struct {
		FindValueReply
		value     [1]Raw
		expiresIn [1]int64
		proof     [1][]byte
	})
	m.Values, m.ExpiresIn, m.Proofs = m.value[:0], m.expiresIn[:0], m.proof[:0]
	return &m.FindValueReply
}
