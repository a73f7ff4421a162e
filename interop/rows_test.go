package interop

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"net"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node"
)

// The rows of docs/PROTOCOL.md, each on both transports of one node. What takes long
// to see (a stream idle for 120 s or 180 s, half a frame for 10 s) is tested
// with the time of testing/synctest in protocols/maculadht and compat.

// row is one thing that a peer may send, and what comes of it.
type row struct {
	name string
	// send returns what is written, in one Write for each element.
	send func(c *cell) [][]byte
	// want returns the replies; nil where there are none.
	want func(c *cell) []message
	// end is what becomes of the stream, as talk.rest says it; "" for "open".
	end string
	// endALPN is end over ALPN, where that is another: a stream on which a CONNECT came
	// is not ended there.
	endALPN string
	// keeps, where it is not nil, is what is then stored under the cell's key.
	keeps []any
	// drops is how many STOREs are dropped and counted.
	drops int
	// on names the one transport that the row is about; "" for both.
	on string
}

// cell is a row on one transport.
type cell struct {
	*bench

	t    *testing.T
	side *side
	key  bin // of this cell alone
}

// side is a transport.
type side struct {
	name     string
	extended bool // the fields of the libp2p dialect are there
	nodeID   bin  // of the client
	peer     peer.ID
	// connect returns what opens streams on one connection of the client, and
	// what closes the connection if it is of the cell's own.
	connect func(t *testing.T) (open func() *talk, done func())
}

const (
	overLibP2P = "libp2p"
	overALPN   = "ALPN"
)

// bench is a node with clients on both transports.
type bench struct {
	node  *node.Node
	udp   *net.UDPAddr
	us    view
	sides []*side
	other *talk // of a peer that has nothing to do with the rows
}

func newBench(t *testing.T) *bench {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	n, err := node.New(node.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, Realm: testRealm})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	b := &bench{node: n}
	b.udp, err = net.ResolveUDPAddr("udp", strings.TrimPrefix(n.Endpoint(), "https://"))
	require.NoError(t, err)

	id := n.ID()
	b.us = liveView(bin(id[:]), bin(n.Endpoint()), b.udp.Port)
	b.us.storeID = bin(n.Service().Routing().Records().StoreID())
	h := newPeer(t)
	connect(t, h, n.Addrs()[0].String())
	b.sides = []*side{
		{name: overLibP2P, extended: true, nodeID: nodeIDOf(h.ID()), peer: h.ID(), connect: func(t *testing.T) (func() *talk, func()) {
			return func() *talk { return talkPeer(t, h, n.Host().ID()) }, func() {}
		}},
		{name: overALPN, nodeID: "erlang-client", connect: func(t *testing.T) (func() *talk, func()) {
			conn := dialRaw(t, b.udp)
			return func() *talk { return talkRaw(t, conn) }, func() { conn.CloseWithError(0, "") }
		}},
	}
	neighbour := newPeer(t)
	b.other = talkPeer(t, neighbour, connect(t, neighbour, n.Addrs()[0].String()))
	return b
}

// nodeIDOf returns the node id of a libp2p peer: the SHA-256 of its peer id.
func nodeIDOf(p peer.ID) bin {
	sum := sha256.Sum256([]byte(p))
	return bin(sum[:])
}

func (b *bench) run(t *testing.T, rows []row) {
	seen := map[string]bool{}
	for _, r := range rows {
		require.False(t, seen[r.name], "two rows %q", r.name)
		seen[r.name] = true
		t.Run(r.name, func(t *testing.T) {
			for _, s := range b.sides {
				if r.on != "" && r.on != s.name {
					continue
				}
				t.Run(s.name, func(t *testing.T) {
					c := &cell{bench: b, t: t, side: s, key: bin(t.Name())}
					c.run(r)
				})
			}
		})
	}
}

// run sends the row's bytes on a stream and looks at what comes: there, on
// another stream of the same connection, on a new one, and at a neighbour.
func (c *cell) run(r row) {
	open, done := c.side.connect(c.t)
	witness := open()
	witness.requireAlive()
	dropped := c.node.Service().Handlers().Stats().DroppedStores

	k := open()
	k.send(r.send(c)...)
	replies, end := k.rest()
	for i := range replies {
		c.us.normalise(&replies[i])
	}
	var want []message
	if r.want != nil {
		want = r.want(c)
	}
	wantEnd := cmp.Or(r.end, "open")
	if c.side.name == overALPN {
		wantEnd = cmp.Or(r.endALPN, wantEnd)
	}
	assert.Equal(c.t, want, replies)
	assert.Equal(c.t, wantEnd, end)
	assert.Equal(c.t, r.drops, int(c.node.Service().Handlers().Stats().DroppedStores-dropped), "STOREs that were dropped")
	if r.keeps != nil {
		assert.Equal(c.t, r.keeps, c.stored())
	}

	witness.requireAlive()
	open().requireAlive()
	c.other.requireAlive()
	c.newcomer().requireAlive()
	done()
}

// newcomer returns a stream on a connection that was never used.
func (c *cell) newcomer() *talk { return talkRaw(c.t, dialRaw(c.t, c.udp)) }

// stored returns what the neighbour finds under the cell's key.
func (c *cell) stored() []any {
	reply := c.other.ask(tFindValue, doc{"key": c.key})
	list, _ := reply.Fields["value"].([]any)
	if list == nil {
		return nothing
	}
	return list
}

// What the rows are made of.

var nothing = []any{}

func whole(typ byte, payload any) func(*cell) [][]byte {
	return func(*cell) [][]byte { return [][]byte{frame(typ, payload)} }
}

// keyed is whole with the cell's key in the payload.
func keyed(typ byte, fields doc) func(*cell) [][]byte {
	return func(c *cell) [][]byte {
		with := doc{"key": c.key}
		for k, v := range fields {
			with[k] = v
		}
		return [][]byte{frame(typ, with)}
	}
}

// callStore is a CALL of _dht.store with the cell's key in args.
func callStore(fields doc) func(*cell) [][]byte {
	return func(c *cell) [][]byte {
		args := doc{"key": c.key}
		for k, v := range fields {
			args[k] = v
		}
		return [][]byte{frame(tCall, doc{"call_id": bin("0123456789abcdef"), "procedure": bin("_dht.store"), "args": args})}
	}
}

func exactly(replies ...message) func(*cell) []message {
	return func(*cell) []message { return replies }
}

func failed(typ byte, reason string) func(*cell) []message {
	return exactly(message{typ, obj{"type": bin("error"), "reason": bin(reason)}})
}

func callFailed(code, text string) func(*cell) []message {
	return exactly(message{tReply, obj{"call_id": bin("0123456789abcdef"), "error": obj{"code": bin(code), "message": bin(text)}}})
}

// connecting is a CONNECT of the client, with some fields changed; nil takes one
// out.
func connecting(change doc) func(*cell) [][]byte {
	return func(c *cell) [][]byte {
		fields := doc{"version": bin("1.0"), "node_id": c.side.nodeID, "realm_id": bin(testRealm),
			"endpoint": bin(""), "capabilities": []any{bin("dht")}}
		for k, v := range change {
			if fields[k] = v; v == nil {
				delete(fields, k)
			}
		}
		return [][]byte{frame(tConnect, fields)}
	}
}

// welcomed is the PONG that answers a CONNECT.
func welcomed(c *cell) []message {
	fields := obj{"timestamp": theTime, "server_time": theTime, "node_id": theID, "endpoint": theEndpoint}
	if c.side.extended {
		fields["realm_id"] = bin(testRealm)
		addrs := []any{}
		for _, a := range c.node.Host().Addrs() {
			addrs = append(addrs, bin(a.Bytes()))
		}
		fields["addrs"] = addrs
		fields["store_id"] = theStoreID
	}
	return []message{{tPong, fields}}
}

func turnedAway(reason, text string) func(*cell) []message {
	return exactly(message{tDisconnect, obj{"reason": bin(reason), "message": bin(text)}})
}
