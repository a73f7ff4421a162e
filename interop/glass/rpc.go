package glass

import (
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// Outcome is what a procedure returns.
type Outcome struct {
	Result  []byte // JSON text
	Error   string // instead of a result; a word, or a text of many lines
	OKTuple bool   // {ok, Result}, as its type demands, and not Result itself
}

// Offer has the gateway itself offer a procedure, as macula:connect_local does.
// It is called by RPC_ROUTE, and by RPC_REQUEST without target_node.
func (g *Gateway) Offer(procedure string, f func(args []byte) Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.offers[procedure] = f
}

func now() wire.Raw { return wire.RawInt(time.Now().UnixMilli()) }

// rpcRequest passes a request on to the node that it is for, or executes it.
// The turn is held, g.mu is not.
func (g *Gateway) rpcRequest(m wire.Raw) []byte {
	if !g.needAll(wire.TypeRPCRequest, m, "request_id", "procedure", "from_node") {
		return nil
	}
	id, _ := field(m, "request_id")
	reply := []wire.Pair{
		{Key: "request_id", Value: erlangForm(id)},
		{Key: "from_node", Value: wire.RawBytes(g.cfg.nodeID)},
		{Key: "timestamp", Value: now()},
	}
	target, targeted := field(m, "target_node")
	if !targeted || contentOf(target) == string(g.cfg.nodeID) {
		return frame(wire.TypeRPCReply, append(reply, g.execute(m))...)
	}
	if s := g.client(target); s != nil {
		g.send(again(wire.TypeRPCRequest, m), s)
		return nil
	}
	from, _ := field(m, "from_node")
	if s := g.client(from); s != nil { // and else nobody is told
		g.send(frame(wire.TypeRPCReply, append(reply,
			wire.Pair{Key: "type", Value: wire.RawText("rpc_reply")},
			wire.Pair{Key: "error", Value: wire.RawText("target_peer_not_found")})...), s)
	}
	return nil
}

func (g *Gateway) execute(m wire.Raw) wire.Pair {
	procedure, _ := field(m, "procedure")
	args, _ := field(m, "args")
	g.mu.Lock()
	f := g.offers[contentOf(procedure)]
	g.mu.Unlock()
	if f == nil {
		return wire.Pair{Key: "error", Value: wire.RawText(wire.ErrorNoHandler)}
	}
	return f([]byte(contentOf(args))).pair()
}

// pair is the field of an RPC_REPLY that tells the outcome.
func (o Outcome) pair() wire.Pair {
	if o.Error != "" {
		return wire.Pair{Key: "error", Value: wire.RawText(o.Error)}
	}
	return wire.Pair{Key: "result", Value: wire.RawBytes(o.Result)}
}

// rpcReply passes a reply on to the node that it is for.
func (g *Gateway) rpcReply(m wire.Raw) {
	to, _ := field(m, "to_node")
	if s := g.client(to); s != nil {
		g.send(again(wire.TypeRPCReply, m), s)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Stray++
}

// rpcRoute executes a call that is for this gateway, if it says by whom it is:
// nobody checks that. Its reply goes to the node nearest to the caller, not on
// the stream of the call. The turn is held, g.mu is not.
func (g *Gateway) rpcRoute(m wire.Raw) {
	if !g.needAll(wire.TypeRPCRoute, m, "destination_node_id", "source_node_id", "hop_count", "max_hops", "payload_type", "payload") {
		return
	}
	if g.forwarded(wire.TypeRPCRoute, m) {
		return
	}
	kind, _ := field(m, "payload_type")
	payload, _ := field(m, "payload")
	if !isText(kind, "call") || !g.needAll(wire.TypeRPCRoute, payload, "call_id", "procedure") {
		return
	}
	outcome := wire.Pair{Key: "error", Value: callError("unauthorized", "unauthorized")}
	if _, known := field(payload, "caller_did"); known {
		procedure, _ := field(payload, "procedure")
		g.mu.Lock()
		f := g.offers[contentOf(procedure)]
		g.mu.Unlock()
		if f == nil {
			outcome.Value = callError("not_found", "not_found")
		} else {
			args, _ := field(payload, "args")
			o := f([]byte(contentOf(args)))
			if o.OKTuple {
				g.crashGatewayNow(CauseOKTuple, contentOf(procedure))
				return
			}
			outcome = o.pair()
		}
	}
	id, _ := field(payload, "call_id")
	from, _ := field(m, "source_node_id")
	g.toNearest(from, wire.TypeRPCRoute, wire.RawMap(
		wire.Pair{Key: "destination_node_id", Value: from},
		wire.Pair{Key: "source_node_id", Value: wire.RawBytes(g.cfg.nodeID)},
		wire.Pair{Key: "hop_count", Value: wire.RawInt(1)},
		wire.Pair{Key: "max_hops", Value: wire.RawInt(maxHops)},
		wire.Pair{Key: "payload_type", Value: wire.RawText("reply")},
		wire.Pair{Key: "payload", Value: wire.RawMap(wire.Pair{Key: "call_id", Value: id}, outcome)}))
}

func callError(code, message string) wire.Raw {
	return wire.RawMap(
		wire.Pair{Key: "code", Value: wire.RawText(code)},
		wire.Pair{Key: "message", Value: wire.RawText(message)})
}
