package wire

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Limits of a stored value (docs/PROTOCOL.md, names and limits).
const (
	// MaxValue is the longest value, in bytes of MessagePack.
	MaxValue = 64 << 10
	// MaxValueDepth is how many maps and arrays a value may nest: two fewer
	// than a payload, as the reply that carries it adds two.
	MaxValueDepth = msgpack.MaxValueDepth
	// MaxTTL is the longest life of a value, and that of one without ttl.
	MaxTTL = 86_400 * time.Second
)

// Value is a value that may be stored, with what the DHT reads of it.
type Value struct {
	Raw    Raw
	NodeID []byte        // the provider; nil where the value names none
	TTL    time.Duration // 1 s to MaxTTL
}

// ParseValue checks a value against docs/PROTOCOL.md: a map of at most MaxValue bytes
// and MaxValueDepth levels, without ext types and invalid UTF-8; node_id and
// endpoint, where they are there, bin or str of at most MaxField bytes; ttl,
// where it is there, a positive integer (see [Raw.Whole]). The result shares raw's memory. What
// is wrong is told in an ErrBadValue.
func ParseValue(raw Raw) (Value, error) {
	if len(raw) > MaxValue {
		return Value{}, fmt.Errorf("%w: %d bytes, limit %d", ErrBadValue, len(raw), MaxValue)
	}
	if kind := raw.Kind(); kind != Map {
		return Value{}, fmt.Errorf("%w: a %s instead of a map", ErrBadValue, kind)
	}
	if err := raw.Check(MaxValueDepth); err != nil {
		return Value{}, fmt.Errorf("%w: %w", ErrBadValue, err)
	}
	v := Value{Raw: raw, TTL: MaxTTL}
	var nodeID, endpoint, ttl Raw // the last of each counts
	for key, field := range raw.Fields() {
		name, _ := key.Bytes()
		switch string(name) {
		case "node_id":
			nodeID = field
		case "endpoint":
			endpoint = field
		case "ttl":
			ttl = field
		}
	}
	if nodeID != nil {
		id, ok := nodeID.Bytes()
		if !ok || len(id) > MaxField {
			return Value{}, badField("node_id", nodeID, "bin or str of at most 255 bytes")
		}
		v.NodeID = id
	}
	if endpoint != nil {
		if text, ok := endpoint.Bytes(); !ok || len(text) > MaxField {
			return Value{}, badField("endpoint", endpoint, "bin or str of at most 255 bytes")
		}
	}
	if ttl != nil {
		seconds, ok := ttl.Whole()
		if !ok || seconds <= 0 {
			return Value{}, badField("ttl", ttl, "a positive number of whole seconds")
		}
		v.TTL = min(Seconds(seconds), MaxTTL)
	}
	return v, nil
}

func badField(name string, found Raw, want string) error {
	return fmt.Errorf("%w: %s is not %s but of the type %s", ErrBadValue, name, want, found.Kind())
}

// StoreArgs are the arguments of a Call of ProcedureStore.
type StoreArgs struct {
	Key       []byte
	Value     Raw
	ExpiresIn Opt[int64] // seconds left of a copy's life; libp2p dialect only
	Proof     []byte     // that the value is its provider's; alone it says that that one has withdrawn it; libp2p dialect only
}

// Raw returns the arguments as a map.
func (a *StoreArgs) Raw() Raw {
	c := fields.Encode(nil)
	a.fields(&c)
	return c.Encoded()
}

func (a *StoreArgs) fields(c *fields.Codec) {
	c.Bytes("key", &a.Key, MaxField, fields.Required)
	c.Raw("value", &a.Value, fields.Optional)
	c.OptInt("expires_in", &a.ExpiresIn)
	c.Bytes("proof", &a.Proof, MaxProof, fields.Optional)
	c.Need("value", a.Value != nil || len(a.Proof) > 0)
}

// Decode reads the arguments. A *FieldError names the one that is missing or
// mistyped, be it "args" itself.
func (a *StoreArgs) Decode(args Raw) error {
	*a = StoreArgs{}
	if len(args) == 0 {
		return &FieldError{Type: TypeCall, Field: "args", Err: ErrMissingField}
	}
	if kind := args.Kind(); kind != Map {
		return &FieldError{Type: TypeCall, Field: "args", Detail: kind.String() + " instead of a map", Err: ErrMistypedField}
	}
	c := fields.DecodeLax(args)
	for c.Pass() {
		a.fields(&c)
	}
	return wrong(TypeCall, c.Done())
}

// PeerInfo is the result of a Call of ProcedurePeerInfo: the libp2p peer that a
// macula-node is, for who came to it by its endpoint. Erlang nodes know no such
// procedure.
type PeerInfo struct {
	PeerID string   // in its text form
	Addrs  [][]byte // its multiaddrs, in binary
	Realm  string   // the realm that it serves
}

// Raw returns the result as a map.
func (p *PeerInfo) Raw() Raw {
	c := fields.Encode(nil)
	p.fields(&c)
	return c.Encoded()
}

func (p *PeerInfo) fields(c *fields.Codec) {
	c.Text("peer_id", &p.PeerID, MaxField, fields.Required)
	c.ByteList("addrs", &p.Addrs, MaxAddrs, MaxField)
	c.Text("realm_id", &p.Realm, MaxField, fields.Required)
}

// Decode reads a result, whose memory it shares. It needs peer_id and realm_id.
func (p *PeerInfo) Decode(result Raw) error {
	*p = PeerInfo{}
	c := fields.Decode(result)
	for c.Pass() {
		p.fields(&c)
	}
	return wrong(TypeReply, c.Done())
}

// Gateway is an entry in the reply to ProcedureListGateways.
type Gateway struct {
	NodeID       []byte
	Host         string
	Port         int64
	Realm        string
	RegisteredAt Opt[int64] // s since 1970
}

// GatewayList is the result of a Call of ProcedureListGateways.
type GatewayList []Gateway

// Raw returns the result as a map.
func (l GatewayList) Raw() Raw {
	b := msgp.AppendMapHeader(nil, 1)
	b = msgpack.AppendBin(b, "peers")
	b = msgp.AppendArrayHeader(b, uint32(len(l)))
	for _, g := range l {
		c := fields.Encode(b)
		g.fields(&c)
		b = c.Encoded()
	}
	return b
}

func (g *Gateway) fields(c *fields.Codec) {
	c.Bytes("node_id", &g.NodeID, MaxField, fields.Optional)
	c.Text("host", &g.Host, MaxField, fields.Always)
	c.Int("port", &g.Port)
	c.Text("realm", &g.Realm, MaxField, fields.Always)
	c.OptInt("registered_at", &g.RegisteredAt)
}

// Decode reads a result. Of the first maxGateways entries those without node_id,
// host and port are left out; what is beyond them is not looked at.
func (l *GatewayList) Decode(result Raw) error {
	*l = nil
	peers, ok := result.Field("peers")
	if !ok {
		return &FieldError{Type: TypeReply, Field: "peers", Err: ErrMissingField}
	}
	if text, isText := peers.Bytes(); peers.Kind() != Array && (!isText || len(text) > 0) {
		return &FieldError{Type: TypeReply, Field: "peers", Detail: peers.Kind().String() + " instead of a list", Err: ErrMistypedField}
	}
	seen := 0
	for peer := range peers.Elems() {
		if g, ok := ParseGateway(peer); ok {
			*l = append(*l, g)
		}
		if seen++; seen == maxGateways {
			break
		}
	}
	return nil
}

// maxGateways is how many entries of a GatewayList are read.
const maxGateways = 1000

// ParseGateway reads a gateway's entry, as it is listed and as it is stored
// under a key that begins with GatewayPrefix. It reports whether node_id, a
// host and a port are there.
func ParseGateway(entry Raw) (Gateway, bool) {
	var g Gateway
	c := fields.DecodeLax(entry)
	for c.Pass() {
		g.fields(&c)
	}
	ok := c.Done() == nil && g.NodeID != nil && isHost(g.Host) && g.Port > 0 && g.Port <= 65535
	return g, ok
}

// isHost reports whether a text can be a host: an IP address or a DNS name.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for _, c := range []byte(host) {
		letter, digit := c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9'
		if !letter && !digit && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return host != "" && len(host) <= 253
}
