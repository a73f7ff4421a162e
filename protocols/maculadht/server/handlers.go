package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server/outbox"
)

// Handlers answer the DHT's messages. They hold no state of their own: each
// forwards to the routing server. They are safe for concurrent use.
type Handlers struct {
	server  *routing.Server
	cfg     config
	nodeID  []byte // the server's id
	mux     *Mux
	clients *Clients
	budget  *budget.Budget
	count   counters

	listens atomic.Pointer[func() string] // tells the endpoint where no option does
}

// Publisher takes a publication to a bootstrap gateway. It returns
// ErrNoConnection while there is none.
type Publisher interface {
	Publish(ctx context.Context, m *wire.Publish) error
}

type config struct {
	realm     string
	endpoint  func() string
	addrs     func() []ma.Multiaddr
	peerID    peer.ID
	network   routing.Network
	bootstrap Publisher
	resolver  Resolver
	adopter   Adopter
	limits    Limits
	tracer    MetricsTracer
}

// Option sets a detail of Handlers.
type Option func(*config) error

// WithRealm sets the realm that is served, DefaultRealm without it. A CONNECT
// of another is refused.
func WithRealm(realm string) Option {
	return func(c *config) error {
		if realm == "" || len(realm) > wire.MaxField {
			return fmt.Errorf("realm %q: want 1 to %d bytes", realm, wire.MaxField)
		}
		c.realm = realm
		return nil
	}
}

// WithEndpoint sets where this node's endpoint ("https://host:port", empty
// for none) is read from each time that it is told to a peer; a gateway's of these
// handlers without it.
func WithEndpoint(endpoint func() string) Option {
	return func(c *config) error {
		if endpoint == nil {
			return errors.New("what tells this node's endpoint is nil")
		}
		c.endpoint = endpoint
		return nil
	}
}

// WithAddrs sets where this node's multiaddrs are read from each time that
// they are told to a peer.
func WithAddrs(addrs func() []ma.Multiaddr) Option {
	return func(c *config) error {
		if addrs == nil {
			return errors.New("what tells this node's addrs is nil")
		}
		c.addrs = addrs
		return nil
	}
}

// WithPeerID sets the libp2p peer that this node is, which _dht.peer_info tells who
// came by its endpoint. Without it there is no such procedure here.
func WithPeerID(id peer.ID) Option {
	return func(c *config) error {
		c.peerID = id
		return id.Validate()
	}
}

// WithNetwork sets through what SendToPeer and QueryPeer reach others.
func WithNetwork(n routing.Network) Option {
	return func(c *config) error {
		if n == nil {
			return errors.New("network is nil")
		}
		c.network = n
		return nil
	}
}

// WithBootstrap sets what ForwardPublishToBootstrap hands publications to.
func WithBootstrap(p Publisher) Option {
	return func(c *config) error {
		if p == nil {
			return errors.New("bootstrap is nil")
		}
		c.bootstrap = p
		return nil
	}
}

// WithLimits sets the limits of each stream, DefaultLimits without it.
func WithLimits(l Limits) Option {
	return func(c *config) error {
		c.limits = l
		return l.check()
	}
}

// WithMetricsTracer sets who is told what happens on the streams.
func WithMetricsTracer(t MetricsTracer) Option {
	return func(c *config) error {
		if t == nil {
			return errors.New("metrics tracer is nil")
		}
		c.tracer = t
		return nil
	}
}

// New returns handlers that forward to server, and are registered with a [Mux] of
// their own.
func New(server *routing.Server, opts ...Option) (*Handlers, error) {
	h := &Handlers{server: server, cfg: config{
		realm:  proto.DefaultRealm,
		addrs:  func() []ma.Multiaddr { return nil },
		limits: DefaultLimits(),
		tracer: noTracer{},
	}, clients: newClients()}
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("server: a nil option")
		}
		if err := opt(&h.cfg); err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
	}
	self := server.Self()
	h.nodeID = self[:]
	var err error
	if h.budget, err = budget.New(h.cfg.limits.Accounts); err != nil {
		return nil, err
	}
	h.mux = newMux(h.cfg.limits, h.cfg.tracer)
	return h, h.register(h.mux)
}

// Mux returns what serves streams with these handlers, and takes those of other
// messages.
func (h *Handlers) Mux() *Mux { return h.mux }

// Budget returns the accounts of the peers, which all transports share.
func (h *Handlers) Budget() *budget.Budget { return h.budget }

// Clients returns the peers that have CONNECTed and can be sent to.
func (h *Handlers) Clients() *Clients { return h.clients }

// Realm returns the realm that is served.
func (h *Handlers) Realm() string { return h.cfg.realm }

// Endpoint returns this node's endpoint, "https://host:port" or nothing; see
// WithEndpoint.
func (h *Handlers) Endpoint() string {
	if h.cfg.endpoint != nil {
		return h.cfg.endpoint()
	}
	if listens := h.listens.Load(); listens != nil {
		return (*listens)()
	}
	return ""
}

// ListenAt sets where the endpoint is read from that is told where WithEndpoint sets
// nothing: a gateway says so where it listens.
func (h *Handlers) ListenAt(endpoint func() string) { h.listens.Store(&endpoint) }

// EndpointFor returns the endpoint as a node is told it that reaches us so far:
// nothing where it can not lead here from there, as a loopback address from another
// machine.
func (h *Handlers) EndpointFor(reach routing.Reach) string { return reach.Endpoint(h.Endpoint()) }

// AddrsFor returns the multiaddrs, see WithAddrs, as a node is told them that reaches
// us so far: those that can lead here from there.
func (h *Handlers) AddrsFor(reach routing.Reach) []ma.Multiaddr { return reach.Addrs(h.cfg.addrs()) }

// Routing returns the routing server that the handlers forward to.
func (h *Handlers) Routing() *routing.Server { return h.server }

// Origin is from whom a message came.
type Origin struct {
	// Node is the proven node id of a libp2p peer; zero where nothing proves
	// who sent it.
	Node routing.ID
	// Source is whose storage budget pays; zero for this process itself.
	Source budget.Source
}

// HandleStore forwards the value to the routing server. It has no reply, ever:
// what can not be stored is dropped and counted.
func (h *Handlers) HandleStore(ctx context.Context, m *wire.Store, from Origin, d Dialect) {
	if err := h.store(ctx, m.Key, m.Value, 0, false, from, d); err != nil {
		h.count.dropped.Add(1)
	}
}

// errGatewayKey: what is stored under the key of a gateway comes from that gateway
// alone, over ALPN macula. From others it would be spread, and handed on.
var errGatewayKey = fmt.Errorf("a key that begins with %s is for gateways that register themselves", wire.GatewayPrefix)

// store validates a value and keeps a copy of it, synced to the disk before it returns
// or soon.
func (h *Handlers) store(ctx context.Context, key []byte, value wire.Raw, expiresIn time.Duration, synced bool, from Origin, d Dialect) error {
	if len(value) > wire.MaxValue {
		return fmt.Errorf("%w: %d bytes, limit %d", wire.ErrBadValue, len(value), wire.MaxValue)
	}
	if !d.GatewayKeys && wire.IsGatewayKey(key) {
		return errGatewayKey
	}
	if d.TextsAsBin {
		rewritten, err := wire.TextsAsBin(value)
		if err != nil {
			return fmt.Errorf("%w: %w", wire.ErrBadValue, err)
		}
		value = rewritten
	}
	v, err := wire.ParseValue(bytes.Clone(value)) // the message's memory is the stream's
	if err != nil {
		return err
	}
	var proven []byte
	if !from.Node.IsZero() {
		proven = from.Node[:]
	}
	put := records.Put{
		Key:       bytes.Clone(key),
		Value:     v.Raw,
		NodeID:    v.NodeID,
		TTL:       v.TTL,
		ExpiresIn: expiresIn,
		Direct:    d.Proxied,
		Synced:    synced,
		From:      proven,
		Source:    from.Source,
	}
	if err := h.server.Records().Store(ctx, put); err != nil {
		return err
	}
	h.count.stored.Add(1)
	if d.Proxied && h.cfg.adopter != nil {
		h.cfg.adopter.Adopt(put)
	}
	return nil
}

// HandleFindValue looks the key up in local storage. The reply is limit bytes at
// most, as a frame, unless one value alone is longer.
func (h *Handlers) HandleFindValue(ctx context.Context, m *wire.FindValue, d Dialect, limit int) *wire.FindValueReply {
	reply := &wire.FindValueReply{}
	h.findValue(ctx, reply, m.Key, local(&d), limit)
	return reply
}

// findValue fills a reply, reusing its slices.
func (h *Handlers) findValue(ctx context.Context, reply *wire.FindValueReply, key []byte, to audience, limit int) {
	found, err := h.server.Records().Values(ctx, key)
	if err != nil {
		found = nil
	}
	h.listValues(reply, h.served(found, to.dialect), key, to, limit)
}

// listValues fills a reply with the records that were found, reusing its slices.
func (h *Handlers) listValues(reply *wire.FindValueReply, found []records.Record, key []byte, to audience, limit int) {
	d := to.dialect
	*reply = wire.FindValueReply{Values: reply.Values[:0], ExpiresIn: reply.ExpiresIn[:0]}
	now := time.Now()
	if len(found) == 0 {
		h.count.misses.Add(1)
		if d.NodesOnMiss {
			reply.Nodes = h.nodes(key, to)
		}
		return
	}
	h.count.hits.Add(1)
	fitting, left := fit(found, d, limit)
	h.count.leftOut.Add(uint64(left))
	for i := range fitting {
		reply.Values = append(reply.Values, fitting[i].Value)
		if d.Extended {
			reply.ExpiresIn = append(reply.ExpiresIn, int64(fitting[i].Expires.Sub(now)/time.Second))
		}
	}
}

// served returns the records that a dialect tells of, and counts those that it does
// not, as an Erlang node would not survive them. The list is copied only where there
// are some.
func (h *Handlers) served(recs []records.Record, d *Dialect) []records.Record {
	harmful := func(r records.Record) bool { return wire.HarmlessValue(r.Value) != nil }
	if !d.Harmless || !slices.ContainsFunc(recs, harmful) {
		return recs
	}
	left := slices.DeleteFunc(slices.Clone(recs), harmful)
	h.count.harmful.Add(uint64(len(recs) - len(left)))
	return left
}

// replyOverhead is more than a FIND_VALUE_REPLY is long without its values:
// header, keys, texts and list heads.
const replyOverhead = 80

// recordSize is how much a record adds to a reply.
func recordSize(r *records.Record, d *Dialect) int {
	if d.Extended {
		return len(r.Value) + 5 // expires_in
	}
	return len(r.Value)
}

// fit returns the records that a reply of limit bytes has room for, in their
// order, and how many it leaves out: those with the longest life stay, and at
// least one.
func fit(recs []records.Record, d *Dialect, limit int) (fitting []records.Record, left int) {
	size := replyOverhead
	for i := range recs {
		size += recordSize(&recs[i], d)
	}
	if size <= limit {
		return recs, 0
	}
	byLife := make([]int, len(recs))
	for i := range byLife {
		byLife[i] = i
	}
	slices.SortStableFunc(byLife, func(a, b int) int {
		return recs[b].Expires.Compare(recs[a].Expires)
	})
	room := limit - replyOverhead
	kept := make([]int, 0, len(recs))
	for _, i := range byLife {
		if n := recordSize(&recs[i], d); n <= room {
			room -= n
			kept = append(kept, i)
		}
	}
	if len(kept) == 0 {
		kept = append(kept, byLife[0])
	}
	slices.Sort(kept)
	for _, i := range kept {
		fitting = append(fitting, recs[i])
	}
	return fitting, len(recs) - len(fitting)
}

// HandleFindNode lists the nodes nearest to the target that are known, as the
// dialect names them to somebody on this machine; see [routing.Server.FindNode] and
// FindGateways.
func (h *Handlers) HandleFindNode(m *wire.FindNode, d Dialect) *wire.FindNodeReply {
	return &wire.FindNodeReply{Nodes: h.nodes(m.Target, local(&d))}
}

// nodes names them by the addresses and endpoints that are within the asker's
// reach. One that has none is not named to an Erlang node, nor an Erlang one to
// anybody.
func (h *Handlers) nodes(target []byte, to audience) []wire.Node {
	find := h.server.FindNode
	if to.dialect.PeersAlone {
		find = h.server.FindGateways
	}
	contacts := find(target, to.asker)
	nodes := make([]wire.Node, 0, len(contacts))
	size := 0
	for i, c := range contacts {
		if to.dialect.PeersAlone && !to.peer.mayTell(c.NodeID) {
			continue
		}
		n := wire.Node{ID: c.NodeID, Address: c.Endpoint, LastSeen: max(c.LastSeen.UnixMilli(), 0)}
		if to.reach != routing.ReachLocal {
			n.Address = to.reach.Endpoint(c.Endpoint)
		}
		if n.Address == "" && c.Endpoint != "" && (c.IsErlang() || to.dialect.PeersAlone) {
			continue
		}
		if to.dialect.Extended && !c.IsErlang() {
			n.Addrs = routing.EncodePeerAddrs(c.Peer, to.reach.Addrs(c.Addrs))
		}
		room := maxNodeList - size - leastNode*(len(contacts)-i-1)
		for len(n.Addrs) > 1 && outbox.NodeSize(&n) > room {
			n.Addrs = n.Addrs[:len(n.Addrs)-1]
		}
		size += outbox.NodeSize(&n)
		nodes = append(nodes, n)
	}
	return nodes
}

// maxNodeList is about how long a list of nodes is at most, in bytes: of those that
// come late in it fewer addresses are told, at least one.
const maxNodeList = 16<<10 - 512

// leastNode is how much of a list is left for each node that is still to come.
const leastNode = 480

// HandleQuery answers a frame from inside the process: the libp2p dialect's
// reply to FIND_NODE and FIND_VALUE, an acknowledgement to STORE, and to any
// other type a REPLY with an error. A frame that can not be read, or a value
// that can not be stored, is returned as an error.
func (h *Handlers) HandleQuery(ctx context.Context, frame []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, rest, err := wire.DecodeFrame(frame)
	if errors.Is(err, wire.ErrUnknownType) {
		return wire.AppendFrame(nil, unknownQuery)
	}
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the frame", wire.ErrMsgpack, len(rest))
	}
	d := LibP2P()
	var reply wire.Message
	switch f.Type {
	case wire.TypeFindNode:
		var m wire.FindNode
		if err = m.Decode(f.Payload); err == nil {
			reply = h.HandleFindNode(&m, d)
		}
	case wire.TypeFindValue:
		var m wire.FindValue
		if err = m.Decode(f.Payload); err == nil {
			reply = h.HandleFindValue(ctx, &m, d, proto.MaxFindValueReply)
		}
	case wire.TypeStore:
		var m wire.Store
		if err = m.Decode(f.Payload); err == nil {
			err = h.store(ctx, m.Key, m.Value, 0, false, Origin{}, d)
		}
		reply = storeReply
	default:
		err = f.Check()
		reply = unknownQuery
	}
	if err != nil {
		return nil, err
	}
	return wire.AppendFrame(nil, reply)
}

// unknownQuery answers what is no question to the DHT.
var unknownQuery = &wire.Reply{Error: &wire.CallError{Message: "Unknown DHT message type"}}

// storeReply acknowledges a STORE inside the process; on a wire there is no
// such message.
var storeReply = &wire.Opaque{MessageType: wire.TypeStore, Fields: wire.RawMap(
	wire.Pair{Key: "type", Value: wire.RawText("store_reply")},
	wire.Pair{Key: "result", Value: wire.RawText("ok")},
)}

// LookupValue returns the values stored here under a key, never an empty list:
// without any it returns ErrNotFound. The values must not be modified.
func (h *Handlers) LookupValue(ctx context.Context, key []byte) ([]wire.Raw, error) {
	found, err := h.server.Records().Values(ctx, key)
	if err != nil {
		return nil, err
	}
	values := make([]wire.Raw, len(found))
	for i := range found {
		values[i] = found[i].Value
	}
	return values, nil
}

// ForwardPublishToBootstrap hands a PUBLISH to the bootstrap gateway. It
// returns ErrNoConnection where there is no session with one.
//
// Deprecated: a bootstrap gateway is no broker. Look up the subscribers of the
// topic and send to them.
func (h *Handlers) ForwardPublishToBootstrap(ctx context.Context, m *wire.Publish) error {
	if h.cfg.bootstrap == nil {
		return proto.ErrNoConnection
	}
	return h.cfg.bootstrap.Publish(ctx, m)
}

// NodeInfo names a node to send to. A node with a peer id is reached over
// /macula/dht/1.0, else by its Endpoint, else by its Address.
type NodeInfo struct {
	NodeID   []byte
	Peer     peer.ID
	Addrs    []ma.Multiaddr
	Endpoint string // "https://host:port"
	Address  string // the same, or "host:port"
}

// contact returns what the network is asked for, or ErrNoEndpoint.
func (n NodeInfo) contact() (routing.Contact, error) {
	c := routing.Contact{NodeID: n.NodeID, Peer: n.Peer, Addrs: n.Addrs, Endpoint: cmp.Or(n.Endpoint, n.Address)}
	switch {
	case n.Peer != "":
		c.ID = routing.IDFromPeer(n.Peer)
	case c.Endpoint == "":
		return c, proto.ErrNoEndpoint
	default:
		c.ID = routing.IDFromBytes(n.NodeID)
		if !strings.Contains(c.Endpoint, "://") {
			c.Endpoint = "https://" + c.Endpoint
		}
	}
	return c, nil
}

// SendToPeer sends a message that has no reply. A nil error says that it left,
// not that it was taken.
func (h *Handlers) SendToPeer(ctx context.Context, to NodeInfo, m wire.Message) error {
	c, err := h.reach(to)
	if err != nil {
		return err
	}
	return h.cfg.network.Send(ctx, c, m)
}

// QueryPeer asks a node and waits for its reply, which owns its memory.
func (h *Handlers) QueryPeer(ctx context.Context, to NodeInfo, m wire.Message) (wire.Message, error) {
	c, err := h.reach(to)
	if err != nil {
		return nil, err
	}
	return h.cfg.network.Query(ctx, c, m)
}

func (h *Handlers) reach(to NodeInfo) (routing.Contact, error) {
	if h.cfg.network == nil {
		return routing.Contact{}, proto.ErrNoNetwork
	}
	return to.contact()
}

// storeError says to a caller of _dht.store why its value was not kept.
func storeError(err error) *wire.CallError {
	switch {
	case errors.Is(err, records.ErrNotOwner):
		return &wire.CallError{Code: wire.CodeNotOwner, Message: "The record is its provider's; only that peer replaces it before it expires"}
	case errors.Is(err, errGatewayKey):
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: key: " + err.Error()}
	case errors.Is(err, records.ErrSourceBudget), errors.Is(err, records.ErrGroupBudget), errors.Is(err, records.ErrStoreFull):
		return &wire.CallError{Code: wire.CodeBusy, Message: "No room left: " + err.Error()}
	default:
		return &wire.CallError{Code: wire.CodeInvalidArgs, Message: "Invalid parameter: value: " + err.Error()}
	}
}
