// Package client asks libp2p peers over /macula/dht/1.0.
//
// A [Client] keeps a few streams to each peer and pipelines requests on them.
// [Ping], [FindNode], [FindValue], [Put] and [ListGateways] ask any contact
// through any routing.Network, so Erlang nodes as well.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"golang.org/x/sync/singleflight"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Client asks libp2p peers over /macula/dht/1.0. It keeps a few streams to each
// peer and sends requests one behind the other on them; a stream of which no
// use is made is closed after ClientIdle. It implements routing.Network for
// contacts with a peer id, and is safe for concurrent use.
type Client struct {
	host  host.Host
	conns connmgr.ConnManager // the host's
	cfg   config

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	requests sync.Pool // of *request; not shared, as a channel belongs to its synctest bubble

	mu         sync.RWMutex
	closed     bool
	lanes      map[laneKey]*lane
	connecting singleflight.Group       // by peer
	newest     map[peer.ID]network.Conn // over which a peer has CONNECTed last; see Renew
}

// laneKey names the streams that requests to a peer share. What may wait for a
// disk at the other end does not hold up the rest.
type laneKey struct {
	peer peer.ID
	slow bool
}

// New returns a client that asks from h, which need not serve the protocol. Close it
// before the host.
func New(h host.Host, opts ...Option) (*Client, error) {
	c := &Client{
		host:  h,
		conns: h.ConnManager(),
		cfg:   config{limits: DefaultLimits(), tracer: noTracer{}},
		lanes: make(map[laneKey]*lane),

		newest: make(map[peer.ID]network.Conn),
	}
	c.requests.New = newRequest
	for _, opt := range opts {
		if opt == nil {
			return nil, errors.New("client: a nil option")
		}
		if err := opt(&c.cfg); err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close resets all streams and waits for their goroutines. What is under way
// fails with ErrClosed.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	lanes := slices.Collect(maps.Values(c.lanes))
	c.mu.Unlock()
	c.cancel()
	for _, l := range lanes {
		l.close()
	}
	c.tasks.Wait()
	return nil
}

var _ routing.Network = (*Client)(nil)

// Send sends a message that has no reply, such as STORE, and returns once it
// has been handed to the stream.
func (c *Client) Send(ctx context.Context, to routing.Contact, m wire.Message) (err error) {
	if c.cfg.traced() {
		defer c.trace(m.Type(), time.Now(), &err)
	}
	if _, asks := m.Type().Reply(); asks {
		return fmt.Errorf("%w: %s has a reply, use Query", proto.ErrInvalidRequest, m.Type())
	}
	at, err := addrInfo(&to)
	if err != nil {
		return err
	}
	_, err = c.exchange(ctx, at, m)
	return err
}

// Query sends a request and returns its reply, which owns its memory. A reply
// that is an error is returned as a *routing.RemoteError.
func (c *Client) Query(ctx context.Context, to routing.Contact, m wire.Message) (reply wire.Message, err error) {
	if c.cfg.traced() {
		defer c.trace(m.Type(), time.Now(), &err)
	}
	if _, asks := m.Type().Reply(); !asks {
		return nil, fmt.Errorf("%w: %s has no reply, use Send", proto.ErrInvalidRequest, m.Type())
	}
	at, err := addrInfo(&to)
	if err != nil {
		return nil, err
	}
	if m.Type() == wire.TypeConnect {
		// Where it is turned away its stream ends, and what is behind it.
		return c.queryOnce(ctx, at, m)
	}
	reply, err = c.ask(ctx, at, m)
	if c.cfg.connect != nil && errors.Is(err, proto.ErrConnectFirst) && ctx.Err() == nil {
		if err := c.connectFirst(ctx, at); err != nil {
			return nil, err
		}
		return c.ask(ctx, at, m) // nothing was done the first time
	}
	return reply, err
}

// addrInfo returns where a contact is: all of it that a question needs, which is a tenth
// of its size and goes from call to call.
func addrInfo(to *routing.Contact) (peer.AddrInfo, error) {
	if to.Peer == "" {
		return peer.AddrInfo{}, fmt.Errorf("%w: contact %s has no peer id", proto.ErrUnreachable, to.ID)
	}
	return peer.AddrInfo{ID: to.Peer, Addrs: to.Addrs}, nil
}

func (c *Client) ask(ctx context.Context, to peer.AddrInfo, m wire.Message) (wire.Message, error) {
	f, err := c.exchange(ctx, to, m)
	if err != nil {
		return nil, err
	}
	return proto.ReadReply(f, m)
}

// trace tells the tracer how a request ended.
func (c *Client) trace(t wire.Type, start time.Time, err *error) {
	c.cfg.tracer.RequestDone(t, proto.ResultOf(*err), time.Since(start))
}

// exchange sends a message over the streams kept for its peer and returns the
// reply's frame, if the message has a reply.
func (c *Client) exchange(ctx context.Context, to peer.AddrInfo, m wire.Message) (framing.Frame, error) {
	r := c.requests.Get().(*request)
	frame, err := prepare(r.frame[:0], m)
	if err != nil {
		c.release(r)
		return framing.Frame{}, err
	}
	r.typ, r.frame, r.fresh, r.shard, r.addrs = m.Type(), frame, time.Time{}, shardOf(m), to.Addrs
	l, err := c.lane(to.ID, m)
	if err != nil {
		c.release(r)
		return framing.Frame{}, err
	}
	defer c.leave(l)
	o, settled := l.do(ctx, r)
	// A stream that breaks says nothing of the request, nor does a connection that
	// the connection manager of either end closes: once more on a fresh one, unless
	// asking twice could do something twice.
	if settled && errors.Is(o.err, ErrBroken) && !errors.Is(o.err, proto.ErrConnectFirst) && repeatable(m) && ctx.Err() == nil {
		r.fresh = r.since
		o, settled = l.do(ctx, r)
	}
	if settled {
		c.release(r)
	}
	if o.err != nil {
		return framing.Frame{}, fmt.Errorf("%s to %s: %w", m.Type(), to.ID, o.err)
	}
	return o.frame, nil
}

// repeatable reports whether asking twice does no more than asking once. Of calls
// that is known of the DHT's own: the same value under the same key is stored once.
func repeatable(m wire.Message) bool {
	if m.Type() == wire.TypePubSubRoute { // it would be delivered twice
		return false
	}
	call, isCall := m.(*wire.Call)
	return !isCall || call.Procedure == wire.ProcedureStore || call.Procedure == wire.ProcedureListGateways
}

// shardOf returns which of the shards of a lane a message has to stay in, by its key:
// what is stored under one is stored in the order of the requests. So what one node has
// published is taken in the order in which it left. It is -1 for what may go on any stream.
func shardOf(m wire.Message) int {
	var key []byte
	switch m := m.(type) {
	case *wire.Store:
		key = m.Key
	case *wire.PubSubRoute:
		key = m.Source
	case *wire.Call:
		if m.Procedure != wire.ProcedureStore {
			return -1
		}
		if field, ok := m.Args.Field("key"); ok {
			key, _ = field.Bytes()
		}
	default:
		return -1
	}
	h := fnv.New32a()
	h.Write(key)
	return int(h.Sum32() % shards)
}

// prepare appends the frame of a message that a peer can be sent to b.
func prepare(b []byte, m wire.Message) ([]byte, error) {
	if err := validate(m); err != nil {
		return nil, err
	}
	frame, err := framing.AppendFrame(b, m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	return frame, nil
}

// learnAddrs tells the host where a peer is that it is not connected to.
func (c *Client) learnAddrs(p peer.ID, addrs []ma.Multiaddr) {
	if len(addrs) > 0 && c.host.Network().Connectedness(p) == network.NotConnected {
		c.host.Peerstore().AddAddrs(p, addrs, peerstore.TempAddrTTL)
	}
}

func (c *Client) lane(p peer.ID, m wire.Message) (*lane, error) {
	call, isCall := m.(*wire.Call)
	key := laneKey{peer: p, slow: isCall && call.Procedure == wire.ProcedureStore}
	c.mu.RLock()
	if l := c.lanes[key]; l != nil && !c.closed {
		l.users.Add(1)
		c.mu.RUnlock()
		return l, nil
	}
	c.mu.RUnlock()

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, proto.ErrClosed
	}
	l := c.lanes[key]
	if l == nil {
		l = newLane(c, key)
		c.lanes[key] = l
	}
	l.users.Add(1)
	return l, nil
}

// leave gives a lane up; the last one out removes it.
func (c *Client) leave(l *lane) {
	if l.users.Add(-1) > 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.users.Load() == 0 && c.lanes[l.key] == l { // nobody has come in since
		delete(c.lanes, l.key)
	}
}

// lostPause is, as a sum of ever longer pauses, for how long a stream is tried to
// be opened where the connection to the peer was lost.
const lostPause = 128 * time.Millisecond

// openStream opens a stream to a peer, dialling it where need be.
func (c *Client) openStream(ctx context.Context, p peer.ID) (network.Stream, error) {
	start := time.Now()
	s, err := c.newStream(ctx, p)
	c.cfg.tracer.StreamDone(proto.ResultOf(err), time.Since(start))
	return s, err
}

func (c *Client) newStream(ctx context.Context, p peer.ID) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.limits.Timeout)
	defer cancel()
	s, err := c.newestStream(ctx, p)
	if s == nil && err == nil {
		s, err = c.host.NewStream(ctx, p, proto.ProtocolID)
	}
	// Over a new one, which is made once the host has seen that the old one is gone.
	for pause := time.Millisecond; connectionLost(err) && pause < lostPause && ctx.Err() == nil; pause *= 2 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		s, err = c.host.NewStream(ctx, p, proto.ProtocolID)
	}
	switch {
	case err == nil:
	case notSupported(err):
		return nil, &proto.RefusedError{Reason: fmt.Sprintf("peer does not speak %s", proto.ProtocolID)}
	default:
		return nil, fmt.Errorf("%w: %w", proto.ErrUnreachable, err)
	}
	if err := s.Scope().SetService(proto.ServiceName); err != nil {
		s.ResetWithError(network.StreamErrorCode(proto.ResetRefused))
		return nil, fmt.Errorf("%w: %w", proto.ErrUnreachable, err)
	}
	return s, nil
}

func notSupported(err error) bool {
	return errors.As(err, new(multistream.ErrNotSupported[protocol.ID]))
}

// connectionLost reports whether a stream could not be opened though there was
// a connection: most often the peer was restarted and does not know it any more.
func connectionLost(err error) bool {
	_, notMade := errors.AsType[*swarm.DialError](err)
	none := errors.Is(err, network.ErrNoConn) || errors.Is(err, network.ErrLimitedConn)
	return err != nil && !notMade && !none && !notSupported(err)
}

// queryOnce asks on a stream of its own, which is closed after the reply.
func (c *Client) queryOnce(ctx context.Context, to peer.AddrInfo, m wire.Message) (wire.Message, error) {
	frame, err := prepare(nil, m)
	if err != nil {
		return nil, err
	}
	c.learnAddrs(to.ID, to.Addrs)
	ctx, cancel := context.WithTimeout(ctx, c.cfg.limits.Timeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	s, err := c.openStream(ctx, to.ID)
	if err == nil {
		var f framing.Frame
		if f, err = once(ctx, s, frame); err == nil {
			return proto.ReadReply(f, m)
		}
	}
	switch {
	case c.ctx.Err() != nil:
		err = proto.ErrClosed
	case ctx.Err() != nil:
		err = gaveUp(ctx)
	}
	return nil, fmt.Errorf("%s to %s: %w", m.Type(), to.ID, err)
}

// once writes a frame, reads the next one, and closes the stream.
func once(ctx context.Context, s network.Stream, frame []byte) (framing.Frame, error) {
	stop := context.AfterFunc(ctx, func() { s.ResetWithError(network.StreamErrorCode(proto.ResetTimeout)) })
	defer stop()
	if _, err := s.Write(frame); err != nil {
		s.Reset()
		return framing.Frame{}, streamError(err)
	}
	in := framing.NewReader(s, framing.WithMemory(s.Scope()))
	defer in.Close()
	f, err := in.Next()
	if err != nil {
		s.ResetWithError(network.StreamErrorCode(proto.ResetCodeOf(err)))
		return framing.Frame{}, streamError(err)
	}
	f.Payload = bytes.Clone(f.Payload)
	s.Close()
	return f, nil
}

// validate refuses what the peer could only refuse, before it is queued behind
// the requests of others.
func validate(m wire.Message) error {
	switch m := m.(type) {
	case *wire.FindValue:
		return checkBytes("key", m.Key)
	case *wire.FindNode:
		return checkBytes("target", m.Target)
	case *wire.Store:
		if _, err := values.Parse(m.Value); err != nil {
			return fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
		}
		return checkBytes("key", m.Key)
	}
	f := framing.Frame{Type: m.Type(), Payload: m.AppendPayload(nil)}
	if _, err := f.Decode(); err != nil {
		return fmt.Errorf("%w: %w", proto.ErrInvalidRequest, err)
	}
	return nil
}

func checkBytes(name string, b []byte) error {
	switch {
	case b == nil:
		return fmt.Errorf("%w: no %s", proto.ErrInvalidRequest, name)
	case len(b) > wire.MaxField:
		return fmt.Errorf("%w: %s of %d bytes, limit %d", proto.ErrInvalidRequest, name, len(b), wire.MaxField)
	}
	return nil
}
