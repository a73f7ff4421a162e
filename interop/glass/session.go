package glass

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

// Session is a client's stay at a gateway: CONNECT, and all its frames on that
// one stream without waiting for replies. It is that of a node that bootstrapped
// ([Gateway.Bootstrap]), that of a client of macula:connect ([Gateway.Connect]),
// or that by which a node meets a gateway that it was told of.
//
// Each end of such a stream, by whatever end of it or of its connection, has it
// connect anew after 5 s, and twice, without closing the old connection. So
// connections double with each that is ended, until it breaks at 256 of them.
// What it subscribed to it does not subscribe to again.
type Session struct {
	gateway  *Gateway
	endpoint string
	id       []byte // that CONNECT states
	tends    bool   // it pings and polls: its node bootstrapped by it

	ctx    context.Context // ends with the session
	end    context.CancelFunc
	met    chan struct{} // closed with the first answer to a CONNECT
	meetMu sync.Once

	mu          sync.Mutex
	era         int     // goes up when all is cut; what was to come of an older one does not
	links       []*link // the newest last
	pong        wire.Pong
	refused     *wire.Disconnect
	ids, pubs   uint64 // counters: of calls and requests, and of what it published
	counts      map[wire.Type]int
	messages    []wire.Message
	discoveries []chan []wire.Raw               // the oldest first
	waiting     map[string]chan wire.Raw        // for the REPLY or RPC_REPLY to an id
	procedures  map[string]func([]byte) Outcome // see Register
}

// link is one connection of a session, with the one stream.
type link struct {
	conn   *quic.Conn
	stream *quic.Stream
	read   chan struct{} // closed when all that came was read
	over   bool          // it has led to its reconnects, or shall not; guarded by Session.mu
}

// Bootstrap joins the network of the node at an endpoint: CONNECT, then, until
// the session ends, PING and CALL _dht.list_gateways, each once an interval. All
// that the replies list it dials and CONNECTs to, once more at every poll, and
// never closes it. It returns when the CONNECT was answered; it takes no
// DISCONNECT for an answer and goes on (see [Session.Refused]).
func (g *Gateway) Bootstrap(ctx context.Context, endpoint string) (*Session, error) {
	s, err := g.newSession(ctx, endpoint, g.connectID(), true)
	if err != nil {
		return nil, fmt.Errorf("glass: bootstrap from %s: %w", endpoint, err)
	}
	if !g.spawn(s.tend) {
		return nil, net.ErrClosed
	}
	return s, nil
}

// Connect makes a client, as macula:connect does. An id of nil is 32 random
// bytes, as the reference's is.
func (g *Gateway) Connect(ctx context.Context, endpoint string, id []byte) (*Session, error) {
	if id == nil {
		id, _ = id16().Bytes()
		more, _ := id16().Bytes()
		id = append(slices.Clone(id), more...)
	}
	s, err := g.newSession(ctx, endpoint, id, false)
	if err != nil {
		return nil, fmt.Errorf("glass: connect to %s: %w", endpoint, err)
	}
	return s, nil
}

// connectID is how its node names itself as a client.
func (g *Gateway) connectID() []byte {
	if g.cfg.rawIDs {
		raw, _ := hex.DecodeString(g.clientID)
		return raw
	}
	return []byte(g.clientID)
}

// newSession begins a session and waits until its CONNECT was answered.
func (g *Gateway) newSession(ctx context.Context, endpoint string, id []byte, tends bool) (*Session, error) {
	s := &Session{
		gateway: g, endpoint: endpoint, id: id, tends: tends,
		met:        make(chan struct{}),
		counts:     make(map[wire.Type]int),
		waiting:    make(map[string]chan wire.Raw),
		procedures: make(map[string]func([]byte) Outcome),
	}
	s.ctx, s.end = context.WithCancel(g.ctx)
	l, err := s.connect(ctx, 0)
	if err != nil {
		s.end()
		return nil, err
	}
	select {
	case <-s.met:
		g.enter(s)
		return s, nil
	case <-l.read:
		select {
		case <-s.met:
			g.enter(s)
			return s, nil
		default:
		}
		if err = context.Cause(l.conn.Context()); err == nil {
			err = io.EOF
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.Close()
	return nil, err
}

// enter lists a session among those of its node.
func (g *Gateway) enter(s *Session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sessions = slices.DeleteFunc(g.sessions, func(other *Session) bool { return other.ctx.Err() != nil })
	g.sessions = append(g.sessions, s)
}

// connect opens one more connection and states CONNECT on it.
func (s *Session) connect(ctx context.Context, era int) (*link, error) {
	g := s.gateway
	conn, err := g.keep(ctx, s.endpoint)
	if err != nil {
		return nil, err
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		conn.CloseWithError(0, "")
		return nil, err
	}
	l := &link{conn: conn, stream: stream, read: make(chan struct{})}
	s.mu.Lock()
	if s.era != era {
		s.mu.Unlock()
		conn.CloseWithError(0, "")
		return nil, errCut
	}
	s.links = slices.DeleteFunc(s.links, func(old *link) bool { return old.conn.Context().Err() != nil })
	s.links = append(s.links, l)
	s.mu.Unlock()
	b, err := framing.AppendFrame(nil, &wire.Connect{
		Version:      "1.0",
		NodeID:       s.id,
		RealmID:      g.cfg.realm,
		Endpoint:     g.endpoint,
		Capabilities: []string{"pubsub", "rpc"},
	})
	if err == nil {
		_, err = stream.Write(b)
	}
	if err != nil {
		conn.CloseWithError(0, "")
		return nil, err
	}
	context.AfterFunc(stream.Context(), func() { // the answer may have come with its end
		select {
		case <-s.met:
		case <-l.read:
		}
		s.over(l)
	})
	if !g.spawn(func() { s.read(l) }) {
		close(l.read)
		conn.CloseWithError(0, "")
		return nil, net.ErrClosed
	}
	return l, nil
}

// Say writes messages on the session's newest stream, all in one Write.
func (s *Session) Say(messages ...wire.Message) error {
	var b []byte
	var err error
	for _, m := range messages {
		if b, err = framing.AppendFrame(b, m); err != nil {
			return err
		}
	}
	return s.write(b)
}

// write writes on the newest stream that has not ended.
func (s *Session) write(b []byte) error {
	s.mu.Lock()
	var stream *quic.Stream
	for _, l := range s.links {
		if !l.over {
			stream = l.stream
		}
	}
	s.mu.Unlock()
	if stream == nil {
		return net.ErrClosed
	}
	_, err := stream.Write(b)
	return err
}

// ID returns the id that its CONNECT states.
func (s *Session) ID() []byte { return s.id }

// Welcome returns the PONG that answered CONNECT last.
func (s *Session) Welcome() wire.Pong {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pong
}

// Refused returns the DISCONNECT that it was sent last, nil for none. It goes on
// as if nothing had come.
func (s *Session) Refused() *wire.Disconnect {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Connections returns how many connections it has, of which only the newest is
// of use to it.
func (s *Session) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open()
}

// open is Connections; s.mu is held.
func (s *Session) open() (n int) {
	for _, l := range s.links {
		if l.conn.Context().Err() == nil {
			n++
		}
	}
	return n
}

// Done is closed when the session has ended: it was closed, or its client has
// crashed, or its node was stopped.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Received returns how many frames of a type have come, but for the PONG that
// answered its first CONNECT.
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
func (s *Session) Close() error {
	s.end()
	s.cut()
	return nil
}

// cut closes its connections, which leads to no reconnects.
func (s *Session) cut() {
	s.mu.Lock()
	era := s.era
	s.mu.Unlock()
	s.cutAt(era)
}

// cutAt is cut, unless that has been done since the era. It reports whether it did.
func (s *Session) cutAt(era int) bool {
	s.mu.Lock()
	if s.era != era {
		s.mu.Unlock()
		return false
	}
	links := s.links
	s.links = nil
	s.era++
	for _, l := range links {
		l.over = true
	}
	s.mu.Unlock()
	for _, l := range links {
		l.conn.CloseWithError(0, "")
	}
	return true
}

// every returns a channel of ticks, nil for never.
func every(d time.Duration) (<-chan time.Time, func()) {
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// tend pings and polls until the session ends.
func (s *Session) tend() {
	cfg := &s.gateway.cfg
	first := cfg.pollEvery
	if cfg.registerAfter >= 0 {
		first = min(first, cfg.registerAfter)
	}
	poll := time.NewTimer(first)
	defer poll.Stop()
	ping, stopPing := every(cfg.pingEvery)
	defer stopPing()
	find, stopFind := every(cfg.findEvery)
	defer stopFind()
	for {
		select { // what can not be written now is not missed
		case <-s.Done():
			return
		case now := <-ping:
			s.Say(&wire.Ping{Timestamp: wire.Some(now.UnixMilli())})
		case <-find:
			s.write(frame(wire.TypeFindNode, wire.Pair{Key: "target", Value: wire.RawBytes(s.id)}))
		case <-poll.C:
			s.Say(&wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawText("{}"), CallID: s.nextID(), Realm: cfg.realm})
			poll.Reset(cfg.pollEvery)
		}
	}
}

// nextID returns the next id of a call or request: a counter of its own.
func (s *Session) nextID() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	return counter(s.ids)
}

func counter(n uint64) []byte {
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

// read takes what comes on a stream until it ends. Here frames are cut from the
// byte stream, in as many pieces as they come.
func (s *Session) read(l *link) {
	in := framing.NewReader(l.stream)
	defer in.Close()
	defer s.over(l)
	defer close(l.read)
	for {
		f, err := in.Next()
		if err != nil {
			return
		}
		f.Payload = bytes.Clone(f.Payload)
		s.take(l, f)
	}
}

func (s *Session) take(l *link, f framing.Frame) {
	first := false
	if f.Type == wire.TypePong || f.Type == wire.TypeDisconnect {
		s.meetMu.Do(func() { first = true })
	}
	m, err := f.Decode()
	s.mu.Lock()
	if !first {
		s.counts[f.Type]++
	}
	switch m := m.(type) {
	case *wire.Pong:
		if m.NodeID != nil {
			s.pong = *m
		}
	case *wire.Disconnect:
		s.refused = m
	}
	switch f.Type {
	case wire.TypePong, wire.TypeReply, wire.TypeFindValueReply, wire.TypeRPCReply, wire.TypeFindNodeReply:
	default:
		if err == nil || errors.Is(err, wire.ErrMistypedField) {
			note(&s.messages, m)
		}
	}
	s.mu.Unlock()
	switch f.Type {
	case wire.TypePong:
		s.learn()
	case wire.TypeReply:
		s.gateway.meet(f.Payload)
		s.answer(f.Payload, "call_id")
	case wire.TypeRPCReply:
		s.answer(f.Payload, "request_id")
	case wire.TypeFindValueReply:
		s.discovered(f.Payload)
	case wire.TypeRPCRequest:
		s.serve(l, f.Payload)
	}
	if first {
		close(s.met)
	}
}

// learn puts who answered CONNECT into the routing table of a node. A client's
// gateway it knows from its node.
func (s *Session) learn() {
	g := s.gateway
	pong := s.Welcome()
	if !bytes.Equal(s.id, g.connectID()) || len(pong.NodeID) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.ContainsFunc(g.parents, func(p parent) bool { return p.endpoint == s.endpoint }) {
		g.parents = append(slices.Clone(g.parents), parent{s.endpoint, pong.NodeID})
	}
}

// meet dials the gateways that a reply lists, and CONNECTs to each.
func (g *Gateway) meet(reply wire.Raw) {
	result, _ := field(reply, "result")
	peers, _ := field(result, "peers")
	entries, _ := listOf(peers)
	var found []string
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
		if at, err := (procedures.Gateway{Host: contentOf(host), Port: number}).Endpoint(); err == nil {
			found = append(found, at.String())
		}
	}
	if len(found) == 0 {
		return
	}
	g.spawn(func() {
		for _, endpoint := range found {
			ctx, cancel := context.WithTimeout(g.ctx, g.cfg.peerTimeout)
			g.newSession(ctx, endpoint, g.connectID(), false) // one that is not there is met no more
			cancel()
		}
	})
}
