package page_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/api"
	"github.com/macula-mesh/macula-node/node/api/page"
	"github.com/macula-mesh/macula-node/node/api/schema"
)

func TestMain(m *testing.M) {
	code := m.Run()
	closeBrowser()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const patience = 30 * time.Second

// fakeNode is a node as a test wants it.
type fakeNode struct {
	api.Node
	status   schema.Status
	identity schema.Identity
	history  schema.History
	peers    []schema.Peer
	table    schema.Table
	uplinks  []schema.Uplink
	clients  []schema.Client
	adverts  []schema.Advertisement
	keys     []schema.Key
	asked    []schema.Asked
	hops     []schema.Hop
	looked   schema.Looked
}

func (n *fakeNode) Status() schema.Status                  { return n.status }
func (n *fakeNode) Identity() schema.Identity              { return n.identity }
func (n *fakeNode) History() schema.History                { return n.history }
func (n *fakeNode) Peers() []schema.Peer                   { return n.peers }
func (n *fakeNode) Table() schema.Table                    { return n.table }
func (n *fakeNode) Uplinks() []schema.Uplink               { return n.uplinks }
func (n *fakeNode) Clients() []schema.Client               { return n.clients }
func (n *fakeNode) Advertisements() []schema.Advertisement { return n.adverts }

func (n *fakeNode) Keys(_ context.Context, _ []byte, cursor string, max int) (schema.Keys, error) {
	keys := n.keys
	if cursor != "" {
		keys = keys[min(max, len(keys)):]
	}
	if len(keys) > max {
		return schema.Keys{Keys: keys[:max], Next: hex.EncodeToString([]byte("next"))}, nil
	}
	return schema.Keys{Keys: keys}, nil
}

func (n *fakeNode) Lookup(_ context.Context, key []byte, asked func(schema.Asked), hop func(schema.Hop)) schema.Looked {
	for _, a := range n.asked {
		asked(a)
	}
	for _, h := range n.hops {
		hop(h)
	}
	l := n.looked
	l.Key = hex.EncodeToString(key)
	return l
}

const (
	peerID = "12D3KooWFTfkavhsf9qCxgyq5GVfE9rjWHTgHGRGcD6tWd9DSUoU"
	nodeID = "0f06e6b40ba8a0bc38b3553ede1fb10c0e9441c2104a888d281d2cfa774171ec"
)

// emptyNode is one that has just begun and knows nobody.
func emptyNode() *fakeNode {
	return &fakeNode{
		status: schema.Status{PID: 4711, Started: time.Now().Add(-7 * time.Second), Uptime: 7, DataDir: "/var/lib/macula-node", PeerID: peerID, NodeID: nodeID,
			Store: schema.Store{Kind: "memory"}, Records: schema.Records{Limit: 256 << 20}, Problems: []string{"it has met nobody: it was told of no address to begin at, and nobody has come"}},
		identity: schema.Identity{PeerID: peerID, NodeID: nodeID, Realm: "macula.default", Mode: "server", Version: "v0.3.0",
			Addrs:     []schema.Address{{Addr: "/ip4/127.0.0.1/udp/9443/quic-v1/p2p/" + peerID, Known: schema.AddressListened, Reachable: schema.Private}},
			Endpoints: []schema.Address{{Addr: "https://127.0.0.1:9443", Known: schema.AddressListened}}},
		table: schema.Table{NodeID: nodeID, Contacts: []schema.Contact{}},
	}
}

// busyNode is one that serves for long, with as many peers and contacts as are asked for, the
// same for each seed.
func busyNode(peers int) *fakeNode {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	before := func(most time.Duration) *time.Time {
		t := now.Add(-time.Duration(random.Int64N(int64(most))))
		return &t
	}
	n := emptyNode()
	n.status.Problems, n.status.Uptime, n.status.Started = nil, 3*86400+4000, now.Add(-76*time.Hour)
	n.status.Records = schema.Records{Records: 1840, Keys: 1212, Bytes: 41 << 20, Limit: 256 << 20}
	n.status.Store = schema.Store{Kind: "disk", DiskBytes: 62 << 20, DiskLimit: 8 << 30}
	n.status.Bootstrap = []schema.Bootstrap{{Addr: "/ip4/198.51.100.4/udp/9443/quic-v1/p2p/" + peerID, State: "joined", Since: *before(time.Hour)}}
	n.identity.Addrs = append([]schema.Address{{Addr: "/ip4/203.0.113.7/udp/9443/quic-v1/p2p/" + peerID, Known: schema.AddressObserved, Reachable: schema.Reachable}}, n.identity.Addrs...)
	n.identity.Endpoints = append([]schema.Address{{Addr: "https://node.example.org:9443", Known: schema.AddressAnnounced}}, n.identity.Endpoints...)
	n.uplinks = []schema.Uplink{{Gateway: "https://gw.example.org:9443", State: "other_realm", Since: *before(time.Hour), Error: "it serves the realm org.example"}}
	n.clients = make([]schema.Client, 12)
	n.table.Size = 1830
	for i := range peers {
		id, kind := hexOf(random, 32), schema.KindMacula
		p := schema.Peer{Kind: kind, NodeID: id, PeerID: "12D3KooW" + hexOf(random, 22), Addr: fmt.Sprintf("/ip4/198.51.100.%d/udp/9443/quic-v1", i%250), Direction: "out",
			Since: before(40 * time.Hour), LatencyMS: 1 + random.Float64()*120, Agent: "macula-node/v0.3.0"}
		switch i % 5 {
		case 3:
			p.Kind, p.PeerID, p.Agent, p.LatencyMS, p.Direction = schema.KindErlang, "", "", 0, "in"
		case 4:
			p.Kind, p.Agent, p.Direction = schema.KindLibp2p, "kubo/0.40.1", "in"
		}
		bucket := 0
		for bucket < 10 && random.IntN(2) == 0 {
			bucket++
		}
		if p.Kind != schema.KindLibp2p {
			p.Bucket = &bucket
			c := schema.Contact{Kind: p.Kind, NodeID: withPrefix(nodeID, id, bucket), PeerID: p.PeerID, Bucket: bucket, State: schema.ContactConfirmed, LatencyMS: p.LatencyMS, LastSeen: before(10 * time.Minute)}
			if i%9 == 0 {
				c.State = schema.ContactDoubtful
			}
			n.table.Contacts = append(n.table.Contacts, c)
		}
		n.peers = append(n.peers, p)
	}
	for range 45 {
		n.keys = append(n.keys, schema.Key{Key: hexOf(random, 32), Records: 1 + random.IntN(3), Expires: now.Add(time.Duration(random.IntN(3600)) * time.Second)})
	}
	n.adverts = []schema.Advertisement{{Key: hexOf(random, 32), Service: "greeter", Since: *before(time.Hour), Published: true, Copies: 20}}
	n.history.Every = 5
	level := 40.0
	for i := range 180 {
		level = max(5, level+random.NormFloat64()*6)
		s := schema.Sample{Time: now.Add(-time.Duration(180-i) * 5 * time.Second), Seconds: 5, Requests: uint64(5 * level), Stored: random.Uint64N(12), Published: random.Uint64N(20),
			Received: 30 + random.Uint64N(30), Delivered: 60 + random.Uint64N(80), Calls: random.Uint64N(15)}
		if i%41 == 0 {
			s.Refused, s.Failed, s.Unstored = 8, 3, 2
		}
		n.history.Samples = append(n.history.Samples, s)
	}
	for i := range 14 {
		c := n.table.Contacts[i%len(n.table.Contacts)]
		hop, shared := 1+i/5, 2*(i/5)+i%4
		n.asked = append(n.asked, schema.Asked{AtMS: float64(i), Hop: hop, Kind: c.Kind, NodeID: c.NodeID, PeerID: c.PeerID, Shared: shared})
		h := schema.Hop{AtMS: float64(i + 3), Hop: hop, NodeID: c.NodeID, PeerID: c.PeerID, Shared: shared, TookMS: 3 + float64(i), Nodes: 20}
		switch i {
		case 4:
			h.Error, h.Silent, h.Nodes = "unreachable", true, 0
		case 11, 12:
			h.Values = 1
		}
		n.hops = append(n.hops, h)
	}
	value, err := wire.FromJSON([]byte(`{"node_id":"` + nodeID + `","endpoint":"https://203.0.113.7:8080","ttl":300}`))
	if err != nil {
		panic(err)
	}
	n.looked = schema.Looked{AtMS: 31, Result: schema.LookupFound, Values: []schema.LookedValue{{Value: schema.Value{Raw: value}, Proved: true, ExpiresIn: 280}}, Holders: 2, Asked: 14, Answered: 13, Silent: 1}
	return n
}

// hostile is what somebody may write to harm who looks at it: markup, what turns the text
// around it, what stacks up, and what has no end.
var hostile = `"><script>document.title='owned'</script><img src=x onerror="document.title='owned'">'}};alert(1)//` + "\u202egnp.exe\u2066\x1b[31m\x00" +
	"Z" + strings.Repeat("\u0353\u0301", 40) + strings.Repeat("W", 3000)

// hostileNode is a busy one all of whose texts are hostile.
func hostileNode(t *testing.T) *fakeNode {
	n := busyNode(8)
	n.identity.Realm, n.status.DataDir = hostile, hostile
	n.status.Problems = []string{hostile}
	n.status.Bootstrap[0].Error, n.uplinks[0].Error, n.uplinks[0].Gateway, n.status.Bootstrap[0].Addr, n.uplinks[0].State = hostile, hostile, hostile, hostile, hostile
	n.identity.Addrs[0].Addr, n.identity.Addrs[0].Known, n.identity.Endpoints[0].Addr = hostile, hostile, hostile
	for i := range n.peers {
		n.peers[i].Agent, n.peers[i].Addr, n.peers[i].PeerID, n.peers[i].NodeID, n.peers[i].Kind = hostile, hostile, hostile, hostile, []string{schema.KindMacula, hostile}[i%2]
	}
	for i := range n.table.Contacts {
		n.table.Contacts[i].NodeID, n.table.Contacts[i].Kind = hostile, hostile
	}
	for i := range n.hops {
		n.hops[i].Error, n.hops[i].NodeID, n.asked[i].NodeID = hostile, hostile+fmt.Sprint(i), hostile+fmt.Sprint(i)
	}
	n.adverts[0].Service, n.adverts[0].Error = hostile, hostile
	value, err := wire.FromJSON(fmt.Appendf(nil, `{"text":%q}`, strings.ReplaceAll(hostile, "\x00", "")))
	if err != nil {
		value, err = wire.FromJSON([]byte(`{"text":"</pre><script>document.title='owned'</script>` + strings.Repeat("W", 3000) + `"}`))
	}
	require.NoError(t, err)
	n.looked.Values = []schema.LookedValue{{Value: schema.Value{Raw: value}}}
	return n
}

func hexOf(random *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return hex.EncodeToString(b)
}

// withPrefix returns the id other with as many leading bits as self, and the next another.
func withPrefix(self, other string, bits int) string {
	a, err := hex.DecodeString(self)
	if err != nil {
		panic(err)
	}
	b, err := hex.DecodeString(other)
	if err != nil {
		panic(err)
	}
	for i := range bits + 1 {
		mask := byte(0x80 >> (i % 8))
		b[i/8] = b[i/8]&^mask | a[i/8]&mask
		if i == bits {
			b[i/8] ^= mask
		}
	}
	return hex.EncodeToString(b)
}

// waitingNode has lookups wait.
type waitingNode struct {
	fakeNode
	begun, goOn chan struct{}
}

func (n *waitingNode) Lookup(context.Context, []byte, func(schema.Asked), func(schema.Hop)) schema.Looked {
	n.begun <- struct{}{}
	<-n.goOn
	return schema.Looked{}
}

// serve has a node's page be served by its local API.
func serve(t *testing.T, n *fakeNode) *api.Server { return serveNode(t, n, n) }

func serveNode(t *testing.T, n api.Node, shown page.Node) *api.Server {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", n, shown)
}

func serveAt(t *testing.T, address string, n api.Node, shown page.Node) *api.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "page")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	p, err := page.New(shown)
	require.NoError(t, err)
	s, err := api.Open(n, api.Options{DataDir: dir, Address: address, Page: p, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}
