package glass

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

// store is what its routing server holds, and loses in a crash. Keys are those of maps as an Erlang node has
// them: the MessagePack of the key, so that a bin and a str differ.
type store struct {
	values   map[string][]wire.Raw // per key, the newest provider first
	keys     []string              // those of gateways, in the order in which they came
	guests   map[string]*guest     // the routing table, per node id
	poisoned bool                  // a gateway's key was written from outside
	parents  []parent              // which a crash does not lose
}

// guest is a node that CONNECTed.
type guest struct {
	id, address wire.Raw
	lastSeen    int64
}

// forget is what a crash of the routing server does; g.mu is held.
func (g *Gateway) forget() {
	g.forgetClients()
	g.values = make(map[string][]wire.Raw)
	g.keys = nil
	g.guests = make(map[string]*guest)
	g.poisoned = false
}

// put stores a value as the reference does: that of the same node_id is
// replaced in place, another is put in front; g.mu is held.
func (g *Gateway) put(key, value wire.Raw) {
	name, value := string(erlangForm(key)), erlangForm(value)
	kept := g.values[name]
	if kept == nil && strings.HasPrefix(contentOf(key), wire.GatewayPrefix) {
		g.keys = append(g.keys, name)
	}
	if id, named := field(value, "node_id"); named {
		for i, v := range kept {
			if other, ok := field(v, "node_id"); ok && bytes.Equal(id, other) {
				g.values[name] = slices.Clone(kept) // a reply may hold the other
				g.values[name][i] = value
				return
			}
		}
	}
	g.values[name] = append([]wire.Raw{value}, kept...)
}

// putFromOutside stores what somebody sent; g.mu is held.
func (g *Gateway) putFromOutside(key, value wire.Raw) {
	g.put(key, value)
	if name := contentOf(key); strings.HasPrefix(name, wire.GatewayPrefix) {
		g.poisoned = true
		g.breaksBy(Discovery, CauseGatewayKey, name)
	}
}

func contentOf(key wire.Raw) string {
	if key.Kind() != wire.Bin {
		return ""
	}
	b, _ := key.Bytes()
	return string(b)
}

// Store keeps a value as one of its own, a map that is well formed.
func (g *Gateway) Store(key []byte, value wire.Raw) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.put(wire.RawBytes(key), value)
}

// Stored returns what is stored under a key, as it is sent: lists of integers
// as str, and so on.
func (g *Gateway) Stored(key []byte) []wire.Raw {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.values[string(erlangForm(wire.RawBytes(key)))])
}

// gateways returns the first value of every key of a gateway; g.mu is held.
func (g *Gateway) gateways() (entries []wire.Raw) {
	for _, name := range g.keys {
		entries = append(entries, g.values[name][0])
	}
	return entries
}

// entry is what is stored under a gateway's key.
func entry(n procedures.Gateway) wire.Raw {
	fields := []wire.Pair{
		{Key: "node_id", Value: wire.RawBytes(n.NodeID)},
		{Key: "host", Value: wire.RawText(n.Host)},
		{Key: "port", Value: wire.RawInt(n.Port)},
		{Key: "realm", Value: wire.RawText(n.Realm)},
	}
	if n.RegisteredAt.Set {
		fields = append(fields, wire.Pair{Key: "registered_at", Value: wire.RawInt(n.RegisteredAt.V)})
	}
	return wire.RawMap(fields...)
}

// registerLater has the gateway register itself after a while, at once where that is
// none; g.mu is held.
func (g *Gateway) registerLater() {
	if g.cfg.registerAfter < 0 || g.closed {
		return
	}
	if g.register != nil {
		g.register.Stop()
	}
	if g.cfg.registerAfter == 0 {
		g.registerOwn()
		return
	}
	g.register = time.AfterFunc(g.cfg.registerAfter, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.registerOwn()
	})
}

// registerOwn stores the gateway's own entry; g.mu is held.
func (g *Gateway) registerOwn() {
	own := procedures.Gateway{NodeID: []byte(g.clientID), Host: g.host, Port: int64(g.port), Realm: g.cfg.realm, RegisteredAt: wire.Some(time.Now().Unix())}
	g.put(wire.RawText(wire.GatewayPrefix+g.clientID), entry(own))
}

// discover crashes at every poll of a store with what was written from outside.
func (g *Gateway) discover() {
	for pause(g.ctx, g.cfg.discoverEvery) {
		g.mu.Lock()
		if g.poisoned {
			g.stats.DiscoveryCrashes++
		}
		g.mu.Unlock()
	}
}

// node is a candidate of FIND_NODE.
type node struct {
	distance [sha256.Size]byte
	guest    *guest // nil for a parent
	endpoint string // of a parent
}

// maxNodes is how many nodes FIND_NODE returns.
const maxNodes = 20

// nearest returns the nodes nearest to a target; g.mu is held.
func (g *Gateway) nearest(target wire.Raw) []node {
	to := id256(target)
	nodes := make([]node, 0, len(g.guests)+len(g.parents))
	add := func(id [sha256.Size]byte, from *guest, endpoint string) {
		for i := range id {
			id[i] ^= to[i]
		}
		nodes = append(nodes, node{id, from, endpoint})
	}
	for _, p := range g.parents {
		add(id256(wire.RawBytes(p.id)), nil, p.endpoint)
	}
	for _, peer := range g.guests {
		add(id256(peer.id), peer, "")
	}
	slices.SortStableFunc(nodes, func(a, b node) int { return bytes.Compare(a.distance[:], b.distance[:]) })
	return nodes[:min(len(nodes), maxNodes)]
}

// id256 returns 32 bytes as they are and hashes others.
func id256(id wire.Raw) [sha256.Size]byte {
	b, _ := id.Bytes()
	if len(b) == sha256.Size {
		return [sha256.Size]byte(b)
	}
	return sha256.Sum256(b)
}
