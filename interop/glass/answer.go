package glass

import (
	"fmt"
	"net"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// answers reports whether the reference answers a type at all.
func answers(t wire.Type) bool {
	switch t {
	case wire.TypeConnect, wire.TypePing, wire.TypeFindNode, wire.TypeFindValue, wire.TypeCall, wire.TypeNATProbe, wire.TypeRPCRequest:
		return true
	}
	return false
}

// handle does what the reference does with a message, a well-formed map, and
// returns its reply; nil where there is none. The turn is held.
func (g *Gateway) handle(s *stream, t wire.Type, m wire.Raw) []byte {
	if g.isHung() {
		return nil
	}
	switch t {
	case wire.TypeFindValue:
		return g.findValue(m)
	case wire.TypePublish:
		g.publish(m)
		return nil
	case wire.TypeSubscribe:
		g.subscribe(s, m)
		return nil
	case wire.TypePubSubRoute:
		g.pubSubRoute(m)
		return nil
	case wire.TypeRPCRoute:
		g.rpcRoute(m)
		return nil
	case wire.TypeRPCRequest:
		return g.rpcRequest(m)
	case wire.TypeRPCReply:
		g.rpcReply(m)
		return nil
	case wire.TypeStore, wire.TypeFindNode, wire.TypeCall:
		if !g.waitRouting() {
			return nil
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hung {
		return nil
	}
	switch t {
	case wire.TypeConnect:
		return g.connect(s, m)
	case wire.TypePing:
		return ping(m)
	case wire.TypeFindNode:
		return g.findNode(m)
	case wire.TypeStore:
		g.storeMessage(m)
	case wire.TypeCall:
		return g.call(m)
	case wire.TypeNATProbe:
		return g.natProbe(s, m)
	case wire.TypeUnsubscribe:
		g.unsubscribe(s, m)
	case wire.TypePunchCoordinate:
		g.punchCoordinate(m)
	}
	return nil
}

func (g *Gateway) isHung() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hung
}

// punchCoordinate needs its fields; which ones is not recorded, so it is all
// that the reference sends. g.mu is held.
func (g *Gateway) punchCoordinate(m wire.Raw) {
	for _, name := range []string{"peer_id", "peer_ports", "punch_time", "role", "session_id"} {
		if _, ok := g.need(wire.TypePunchCoordinate, m, name); !ok {
			return
		}
	}
}

// need returns a field without which the reference crashes; g.mu is held.
func (g *Gateway) need(t wire.Type, m wire.Raw, name string) (wire.Raw, bool) {
	value, ok := field(m, name)
	if ok {
		return value, true
	}
	why := CauseMissingField
	if _, asText := m.Field(name); asText {
		why = CauseTextKeys
	}
	detail := fmt.Sprintf("%s: %s", t, name)
	if t == wire.TypeStore {
		g.crash(why, detail) // it is the routing server that reads this one
	} else {
		g.crashGateway(why, detail)
	}
	return nil, false
}

// needAll is need of several fields for those who do not hold g.mu.
func (g *Gateway) needAll(t wire.Type, m wire.Raw, names ...string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range names {
		if _, ok := g.need(t, m, name); !ok {
			return false
		}
	}
	return true
}

func (g *Gateway) connect(s *stream, m wire.Raw) []byte {
	realm, ok := g.need(wire.TypeConnect, m, "realm_id")
	if !ok {
		return nil
	}
	if !isText(realm, g.cfg.realm) {
		text, _ := realm.Bytes()
		g.hang(CauseOtherRealm, fmt.Sprintf("%q, a %s", text, realm.Kind()))
		s.Close() // the one time that it does
		return nil
	}
	id, ok := g.need(wire.TypeConnect, m, "node_id")
	if !ok {
		return nil
	}
	endpoint, _ := field(m, "endpoint")
	if endpoint == nil || endpoint.Kind() == wire.Nil {
		g.crashGateway(CauseNoEndpoint, "")
		return nil
	}
	now := time.Now().UnixMilli()
	id = erlangForm(id)
	g.guests[string(id)] = &guest{id: id, address: erlangForm(endpoint), lastSeen: now}
	g.streams[string(id)] = s // of several the newest
	return frame(wire.TypePong,
		wire.Pair{Key: "timestamp", Value: wire.RawInt(now)},
		wire.Pair{Key: "server_time", Value: wire.RawInt(now)},
		wire.Pair{Key: "node_id", Value: wire.RawBytes(g.cfg.nodeID)},
		wire.Pair{Key: "endpoint", Value: wire.RawText(g.endpoint)})
}

func ping(m wire.Raw) []byte {
	now := wire.RawInt(time.Now().UnixMilli())
	timestamp, ok := field(m, "timestamp")
	if !ok {
		timestamp = now
	}
	return frame(wire.TypePong, wire.Pair{Key: "timestamp", Value: erlangForm(timestamp)}, wire.Pair{Key: "server_time", Value: now})
}

func failure(t wire.Type, reason string) []byte {
	return frame(t, wire.Pair{Key: "type", Value: wire.RawText("error")}, wire.Pair{Key: "reason", Value: wire.RawText(reason)})
}

func (g *Gateway) findNode(m wire.Raw) []byte {
	if typ, _ := field(m, "type"); !isText(typ, "find_node") {
		return failure(wire.TypeFindNodeReply, "unknown_message")
	}
	target, ok := field(m, "target")
	if !ok {
		g.crash(CauseNoTarget, "")
		return nil
	}
	var nodes []wire.Raw
	for _, n := range g.nearest(target) {
		if n.guest == nil {
			g.crash(CauseBootstrapNode, "")
			return nil
		}
		nodes = append(nodes, wire.RawMap(
			wire.Pair{Key: "node_id", Value: n.guest.id},
			wire.Pair{Key: "address", Value: n.guest.address},
			wire.Pair{Key: "last_seen", Value: wire.RawInt(n.guest.lastSeen)}))
	}
	return frame(wire.TypeFindNodeReply,
		wire.Pair{Key: "type", Value: wire.RawText("find_node_reply")}, wire.Pair{Key: "nodes", Value: list(nodes)})
}

func (g *Gateway) storeMessage(m wire.Raw) {
	if typ, _ := field(m, "type"); !isText(typ, "store") {
		return
	}
	key, ok := g.need(wire.TypeStore, m, "key")
	if !ok {
		return
	}
	value, ok := g.need(wire.TypeStore, m, "value")
	if !ok {
		return
	}
	if value.Kind() != wire.Map {
		g.crash(CauseStoreValue, value.Kind().String())
		return
	}
	g.putFromOutside(key, value)
}

// findValue asks the routing server, and does nothing else meanwhile. The turn
// is held, g.mu is not.
func (g *Gateway) findValue(m wire.Raw) []byte {
	key, ok := field(m, "key")
	if !ok {
		return failure(wire.TypeFindValueReply, "missing_key")
	}
	values, ok := g.find(key)
	if !ok {
		return nil
	}
	typ := wire.Pair{Key: "type", Value: wire.RawText("find_value_reply")}
	if len(values) == 0 {
		return frame(wire.TypeFindValueReply, typ,
			wire.Pair{Key: "result", Value: wire.RawText("nodes")}, wire.Pair{Key: "nodes", Value: list(nil)})
	}
	return frame(wire.TypeFindValueReply, typ,
		wire.Pair{Key: "result", Value: wire.RawText("value")}, wire.Pair{Key: "value", Value: list(values)})
}

// The error of a procedure that is not the DHT's.
const (
	codeBootstrapOnly = "gateway_bootstrap_only"
	textBootstrapOnly = "Gateway is bootstrap-only. Discover service via DHT and call peer directly"
)

func (g *Gateway) call(m wire.Raw) []byte {
	procedure, ok := g.need(wire.TypeCall, m, "procedure")
	if !ok {
		return nil
	}
	id, ok := g.need(wire.TypeCall, m, "call_id")
	if !ok {
		return nil
	}
	reply := func(field string, value wire.Raw) []byte {
		return frame(wire.TypeReply, wire.Pair{Key: "call_id", Value: erlangForm(id)}, wire.Pair{Key: field, Value: value})
	}
	fail := func(code, message string) []byte {
		return reply("error", wire.RawMap(wire.Pair{Key: "code", Value: wire.RawText(code)}, wire.Pair{Key: "message", Value: wire.RawText(message)}))
	}
	args, _ := field(m, "args")
	switch {
	case isText(procedure, wire.ProcedureListGateways):
		return reply("result", wire.RawMap(wire.Pair{Key: "peers", Value: list(g.gateways())}))
	case !isText(procedure, wire.ProcedureStore):
		return fail(codeBootstrapOnly, textBootstrapOnly)
	case args.Kind() != wire.Map:
		g.crash(CauseStoreArgs, args.Kind().String())
		return nil
	}
	key, hasKey := field(args, "key")
	value, hasValue := field(args, "value")
	switch {
	case !hasKey:
		return fail(wire.CodeInvalidArgs, "Missing required parameter: key")
	case !hasValue:
		return fail(wire.CodeInvalidArgs, "Missing required parameter: value")
	case value.Kind() != wire.Map:
		g.crash(CauseStoreValue, wire.ProcedureStore+": "+value.Kind().String())
		return nil
	}
	g.putFromOutside(key, value)
	return reply("result", wire.RawMap(wire.Pair{Key: "status", Value: wire.RawText("ok")}))
}

// orUndefined is how the reference writes what it has not got.
func orUndefined(m wire.Raw, name string) wire.Raw {
	if value, ok := field(m, name); ok {
		return erlangForm(value)
	}
	return wire.RawText("undefined")
}

func (g *Gateway) natProbe(s *stream, m wire.Raw) []byte {
	seen := s.conn.RemoteAddr().(*net.UDPAddr)
	return frame(wire.TypeNATProbeReply,
		wire.Pair{Key: "node_id", Value: wire.RawBytes(g.cfg.nodeID)},
		wire.Pair{Key: "request_id", Value: orUndefined(m, "request_id")},
		wire.Pair{Key: "reflexive_ip", Value: wire.RawText(seen.IP.String())},
		wire.Pair{Key: "reflexive_port", Value: wire.RawInt(int64(seen.Port))},
		wire.Pair{Key: "server_time", Value: wire.RawInt(time.Now().UnixMilli())})
}
