package glass

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// ErrRefused: the node to bootstrap from answered CONNECT with something else
// than PONG.
var ErrRefused = errors.New("glass: not let in")

// Session is a node's stay at the node that it bootstrapped from: one
// connection with one stream, on which all its frames go without waiting for
// replies. It ends with the connection.
type Session struct {
	gateway *Gateway
	conn    *quic.Conn
	stream  *quic.Stream
	pong    *wire.Pong

	mu       sync.Mutex
	calls    uint64
	counts   map[wire.Type]int
	messages []wire.Message
}

// Bootstrap joins the network of the node at an endpoint: CONNECT, then, until
// the session ends, PING and CALL _dht.list_gateways, each once an interval. All
// that the replies list it dials, once more at every poll, and never closes it.
func (g *Gateway) Bootstrap(ctx context.Context, endpoint string) (*Session, error) {
	conn, err := g.keep(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	s := &Session{gateway: g, conn: conn, counts: make(map[wire.Type]int)}
	in, err := s.connect(ctx)
	if err != nil {
		conn.CloseWithError(0, "")
		return nil, fmt.Errorf("glass: bootstrap from %s: %w", endpoint, err)
	}
	g.mu.Lock()
	known := slices.ContainsFunc(g.parents, func(p parent) bool { return p.endpoint == endpoint })
	if !known {
		g.parents = append(slices.Clone(g.parents), parent{endpoint, s.pong.NodeID})
	}
	g.mu.Unlock()
	if !g.spawn(func() { s.read(in) }) || !g.spawn(s.tend) {
		return nil, net.ErrClosed
	}
	return s, nil
}

func (s *Session) connect(ctx context.Context) (*wire.Reader, error) {
	g := s.gateway
	defer context.AfterFunc(ctx, func() { s.conn.CloseWithError(0, "") })()
	var err error
	if s.stream, err = s.conn.OpenStreamSync(ctx); err != nil {
		return nil, err
	}
	err = s.Say(&wire.Connect{
		Version:      "1.0",
		NodeID:       []byte(g.clientID),
		RealmID:      g.cfg.realm,
		Endpoint:     g.endpoint,
		Capabilities: []string{"pubsub", "rpc"},
	})
	if err != nil {
		return nil, err
	}
	in := wire.NewReader(s.stream)
	f, err := in.Next()
	if err != nil {
		return nil, err
	}
	f.Payload = bytes.Clone(f.Payload)
	m, err := f.Decode()
	if err != nil {
		return nil, err
	}
	pong, ok := m.(*wire.Pong)
	if !ok {
		return nil, fmt.Errorf("%w: %s %+v", ErrRefused, f.Type, m)
	}
	s.pong = pong
	return in, nil
}

// Say writes messages on the session's stream, all in one Write.
func (s *Session) Say(messages ...wire.Message) error {
	var b []byte
	var err error
	for _, m := range messages {
		if b, err = wire.AppendFrame(b, m); err != nil {
			return err
		}
	}
	_, err = s.stream.Write(b)
	return err
}

// Welcome returns the PONG that answered CONNECT.
func (s *Session) Welcome() wire.Pong { return *s.pong }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.conn.Context().Done() }

// Received returns how many frames of a type have come since the PONG that
// answered CONNECT.
func (s *Session) Received(t wire.Type) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[t]
}

// Messages returns what has come that was no reply, such as PUBLISH.
func (s *Session) Messages() []wire.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Close leaves, with code 0.
func (s *Session) Close() error { return s.conn.CloseWithError(0, "") }

// tend pings and polls until the session ends.
func (s *Session) tend() {
	cfg := &s.gateway.cfg
	first := cfg.pollEvery
	if cfg.registerAfter >= 0 {
		first = min(first, cfg.registerAfter)
	}
	poll, ping := time.NewTimer(first), time.NewTicker(cfg.pingEvery)
	defer poll.Stop()
	defer ping.Stop()
	for {
		var err error
		select {
		case <-s.Done():
			return
		case now := <-ping.C:
			err = s.Say(&wire.Ping{Timestamp: wire.Some(now.UnixMilli())})
		case <-poll.C:
			err = s.Say(s.listGateways())
			poll.Reset(cfg.pollEvery)
		}
		if err != nil {
			return
		}
	}
}

func (s *Session) listGateways() *wire.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id[8:], s.calls)
	return &wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawText("{}"), CallID: id, Realm: s.gateway.cfg.realm}
}

// read takes what comes until the session ends.
func (s *Session) read(in *wire.Reader) {
	defer in.Close()
	for {
		f, err := in.Next()
		if err != nil {
			s.conn.CloseWithError(0, "")
			return
		}
		f.Payload = bytes.Clone(f.Payload)
		s.mu.Lock()
		s.counts[f.Type]++
		switch f.Type {
		case wire.TypePong:
		case wire.TypeReply:
		default:
			if m, err := f.Decode(); err == nil {
				note(&s.messages, m)
			}
		}
		s.mu.Unlock()
		if f.Type == wire.TypeReply {
			s.gateway.meet(f.Payload)
		}
	}
}

// meet dials the gateways that a reply lists.
func (g *Gateway) meet(reply wire.Raw) {
	result, _ := field(reply, "result")
	peers, _ := field(result, "peers")
	entries, _ := listOf(peers)
	var endpoints []string
	for _, e := range entries {
		if id, ok := field(e, "node_id"); !ok || id.Kind() != wire.Bin {
			g.mu.Lock()
			g.breaksBy(Discovery, CauseNamelessGateway, "")
			g.mu.Unlock()
			return
		}
		host, _ := field(e, "host")
		port, _ := field(e, "port")
		number, _ := port.Int()
		if at, err := wire.EndpointOf(wire.Gateway{Host: contentOf(host), Port: number}); err == nil {
			endpoints = append(endpoints, at.String())
		}
	}
	if len(endpoints) == 0 {
		return
	}
	g.spawn(func() {
		for _, endpoint := range endpoints {
			ctx, cancel := context.WithTimeout(g.ctx, g.cfg.peerTimeout)
			g.keep(ctx, endpoint) // one that is not there is met no more
			cancel()
		}
	})
}
