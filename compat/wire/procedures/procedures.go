package procedures

import (
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
)

// StoreArgs are the arguments of a Call of wire.ProcedureStore.
type StoreArgs struct {
	Key       []byte
	Value     wire.Raw
	ExpiresIn wire.Opt[int64] // seconds left of a copy's life; libp2p dialect only
	Proof     []byte          // that the value is its provider's; alone it says that that one has withdrawn it; libp2p dialect only
}

// Raw returns the arguments as a map.
func (a *StoreArgs) Raw() wire.Raw {
	c := fields.Encode(nil)
	a.fields(&c)
	return c.Encoded()
}

func (a *StoreArgs) fields(c *fields.Codec) {
	c.Bytes("key", &a.Key, wire.MaxField, fields.Required)
	c.Raw("value", &a.Value, fields.Optional)
	c.OptInt("expires_in", &a.ExpiresIn)
	c.Bytes("proof", &a.Proof, wire.MaxProof, fields.Optional)
	c.Need("value", a.Value != nil || len(a.Proof) > 0)
}

// Decode reads the arguments. A *wire.FieldError names the one that is missing or
// mistyped, be it "args" itself.
func (a *StoreArgs) Decode(args wire.Raw) error {
	*a = StoreArgs{}
	if len(args) == 0 {
		return &wire.FieldError{Type: wire.TypeCall, Field: "args", Err: wire.ErrMissingField}
	}
	if kind := args.Kind(); kind != wire.Map {
		return &wire.FieldError{Type: wire.TypeCall, Field: "args", Detail: kind.String() + " instead of a map", Err: wire.ErrMistypedField}
	}
	c := fields.DecodeLax(args)
	for c.Pass() {
		a.fields(&c)
	}
	return wire.FieldErrorOf(wire.TypeCall, c.Done())
}

// PeerInfo is the result of a Call of wire.ProcedurePeerInfo: the libp2p peer that a
// macula-node is, for who came to it by its endpoint. Erlang nodes know no such
// procedure.
type PeerInfo struct {
	PeerID string   // in its text form
	Addrs  [][]byte // its multiaddrs, in binary
	Realm  string   // the realm that it serves
}

// Raw returns the result as a map.
func (p *PeerInfo) Raw() wire.Raw {
	c := fields.Encode(nil)
	p.fields(&c)
	return c.Encoded()
}

func (p *PeerInfo) fields(c *fields.Codec) {
	c.Text("peer_id", &p.PeerID, wire.MaxField, fields.Required)
	c.ByteList("addrs", &p.Addrs, wire.MaxAddrs, wire.MaxField)
	c.Text("realm_id", &p.Realm, wire.MaxField, fields.Required)
}

// Decode reads a result, whose memory it shares. It needs peer_id and realm_id.
func (p *PeerInfo) Decode(result wire.Raw) error {
	*p = PeerInfo{}
	c := fields.Decode(result)
	for c.Pass() {
		p.fields(&c)
	}
	return wire.FieldErrorOf(wire.TypeReply, c.Done())
}
