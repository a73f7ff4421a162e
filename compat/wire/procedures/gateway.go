package procedures

import (
	"net"
	"strconv"

	"github.com/tinylib/msgp/msgp"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/endpoints"
	"github.com/macula-mesh/macula-node/compat/wire/internal/fields"
	"github.com/macula-mesh/macula-node/compat/wire/msgpack"
)

// Gateway is an entry in the reply to wire.ProcedureListGateways.
type Gateway struct {
	NodeID       []byte
	Host         string
	Port         int64
	Realm        string
	RegisteredAt wire.Opt[int64] // s since 1970
}

// GatewayList is the result of a Call of wire.ProcedureListGateways.
type GatewayList []Gateway

// Raw returns the result as a map.
func (l GatewayList) Raw() wire.Raw {
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
	c.Bytes("node_id", &g.NodeID, wire.MaxField, fields.Optional)
	c.Text("host", &g.Host, wire.MaxField, fields.Always)
	c.Int("port", &g.Port)
	c.Text("realm", &g.Realm, wire.MaxField, fields.Always)
	c.OptInt("registered_at", &g.RegisteredAt)
}

// Decode reads a result. Of the first maxGateways entries those without node_id,
// host and port are left out; what is beyond them is not looked at.
func (l *GatewayList) Decode(result wire.Raw) error {
	*l = nil
	peers, ok := result.Field("peers")
	if !ok {
		return &wire.FieldError{Type: wire.TypeReply, Field: "peers", Err: wire.ErrMissingField}
	}
	if text, isText := peers.Bytes(); peers.Kind() != wire.Array && (!isText || len(text) > 0) {
		return &wire.FieldError{Type: wire.TypeReply, Field: "peers", Detail: peers.Kind().String() + " instead of a list", Err: wire.ErrMistypedField}
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
// under a key that begins with wire.GatewayPrefix. It reports whether node_id, a
// host and a port are there.
func ParseGateway(entry wire.Raw) (Gateway, bool) {
	var g Gateway
	c := fields.DecodeLax(entry)
	for c.Pass() {
		g.fields(&c)
	}
	ok := c.Done() == nil && g.NodeID != nil && endpoints.IsHost(g.Host) && g.Port > 0 && g.Port <= 65535
	return g, ok
}

// Endpoint returns where a list of gateways says that one is. The error is an
// endpoints.ErrBad.
func (g Gateway) Endpoint() (endpoints.Endpoint, error) {
	return endpoints.Parse("https://" + net.JoinHostPort(g.Host, strconv.FormatInt(g.Port, 10)))
}
