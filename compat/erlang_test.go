package compat

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// streamCredit is how many streams at a time an Erlang node grants a
// connection.
const streamCredit = 100

// erlang is a gateway as docs/WIRE.md describes it, as far as a dialer can tell: it
// decodes each receive event alone, never closes its side of a stream, grants
// 100 streams a connection, and has room for one handshake. What would crash a
// real one it writes down as a fault.
type erlang struct {
	tb       testing.TB
	endpoint string
	port     *port

	mu         sync.Mutex
	shaking    bool // a handshake is under way
	refused    int
	conns      []*quic.Conn
	heard      []heard
	lost       []string // receive events that were no whole frame
	faults     []string
	replied    int
	held       map[wire.Type]chan struct{}
	reply      func(wire.Frame) []byte // nil: as usual
	asking     map[wire.Type]int       // frames not yet replied to
	mostAsking map[wire.Type]int
	stored     map[string][]wire.Raw
	unfinished int // streams that the dialer has not finished with
	handshake  chan struct{}
	tasks      sync.WaitGroup
}

// heard is one frame that came.
type heard struct {
	conn   *quic.Conn
	stream quic.StreamID
	typ    wire.Type
	msg    wire.Message
	fin    bool // the stream has been ended since
}

// startErlang starts a node on an address such as "127.0.0.1:0".
func startErlang(tb testing.TB, address string) *erlang {
	tb.Helper()
	return startErlangWith(tb, address, ServerTLS(certificate()))
}

// startErlangWith starts a node with a certificate of its own.
func startErlangWith(tb testing.TB, address string, tlsConf *tls.Config) *erlang {
	tb.Helper()
	e := &erlang{
		tb:         tb,
		held:       make(map[wire.Type]chan struct{}),
		asking:     make(map[wire.Type]int),
		mostAsking: make(map[wire.Type]int),
		stored:     make(map[string][]wire.Raw),
	}
	addr, err := net.ResolveUDPAddr("udp", address)
	require.NoError(tb, err)
	udp, err := net.ListenUDP("udp", addr)
	require.NoError(tb, err)
	e.port = &port{udp: udp, Transport: &quic.Transport{Conn: udp, ConnContext: e.oneAtATime}}
	gated := &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			e.mu.Lock()
			gate := e.handshake
			e.mu.Unlock()
			if gate != nil {
				<-gate
			}
			return tlsConf, nil
		},
	}
	ln, err := e.port.Listen(gated, &quic.Config{
		MaxIncomingStreams:    streamCredit,
		MaxIncomingUniStreams: -1,
		MaxIdleTimeout:        60 * time.Second,
		KeepAlivePeriod:       20 * time.Second,
	})
	require.NoError(tb, err)
	e.endpoint = "https://" + udp.LocalAddr().String()
	e.tasks.Go(func() { e.accept(ln) })
	tb.Cleanup(e.stop)
	return e
}

// stop is what a node does that is stopped: it says nothing.
func (e *erlang) stop() {
	e.mu.Lock()
	for t, gate := range e.held {
		close(gate)
		delete(e.held, t)
	}
	e.mu.Unlock()
	e.port.Close()
	e.tasks.Wait()
}

// oneAtATime refuses a handshake while another is under way.
func (e *erlang) oneAtATime(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shaking {
		e.refused++
		return ctx, errors.New("busy with another handshake")
	}
	e.shaking = true
	context.AfterFunc(ctx, e.shaken)
	return ctx, nil
}

func (e *erlang) shaken() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shaking = false
}

// holdHandshakes keeps every handshake from ending until letGo is called.
func (e *erlang) holdHandshakes() (letGo func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gate := make(chan struct{})
	e.handshake = gate
	letGo = sync.OnceFunc(func() {
		e.mu.Lock()
		e.handshake = nil
		e.mu.Unlock()
		close(gate)
	})
	e.tb.Cleanup(letGo) // before stop, which was registered earlier
	return letGo
}

// hold keeps back the replies to a type until letGo is called.
func (e *erlang) hold(t wire.Type) (letGo func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gate := make(chan struct{})
	e.held[t] = gate
	return sync.OnceFunc(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.held[t] == gate {
			close(gate)
			delete(e.held, t)
		}
	})
}

// replies makes the node answer with any bytes.
func (e *erlang) replies(reply func(wire.Frame) []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reply = reply
}

func (e *erlang) accept(ln *quic.Listener) {
	for {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			return
		}
		e.shaken()
		e.mu.Lock()
		e.conns = append(e.conns, conn)
		e.mu.Unlock()
		e.tasks.Go(func() {
			for {
				s, err := conn.AcceptStream(context.Background())
				if err != nil {
					return
				}
				e.mu.Lock()
				e.unfinished++
				e.mu.Unlock()
				e.tasks.Go(func() { e.serve(conn, s) })
			}
		})
	}
}

// serve takes each receive event for a whole frame.
func (e *erlang) serve(conn *quic.Conn, s *quic.Stream) {
	var asked, replied bool // guarded by e.mu
	stopped := context.AfterFunc(s.Context(), func() {
		s.CancelWrite(0) // as its QUIC library does by itself
		e.mu.Lock()
		defer e.mu.Unlock()
		if asked && !replied && conn.Context().Err() == nil {
			e.faults = append(e.faults, fmt.Sprintf("stream %d: STOP_SENDING before the reply", s.StreamID()))
		}
	})
	defer stopped()
	event := make([]byte, 64<<10)
	for {
		n, err := s.Read(event)
		if n > 0 {
			e.onEvent(conn, s, event[:n], &asked, &replied)
		}
		if err != nil {
			e.mu.Lock()
			defer e.mu.Unlock()
			if asked && !replied && errors.Is(err, io.EOF) {
				e.faults = append(e.faults, fmt.Sprintf("stream %d: FIN before the reply", s.StreamID()))
			}
			for i := range e.heard {
				if e.heard[i].conn == conn && e.heard[i].stream == s.StreamID() {
					e.heard[i].fin = errors.Is(err, io.EOF)
				}
			}
			e.unfinished--
			return
		}
	}
}

func (e *erlang) onEvent(conn *quic.Conn, s *quic.Stream, event []byte, asked, replied *bool) {
	f, _, err := wire.DecodeFrame(append([]byte(nil), event...)) // what is behind the frame is lost
	var m wire.Message
	if err == nil {
		m, err = f.Decode()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.lost = append(e.lost, err.Error())
		return
	}
	if *asked && !*replied {
		e.faults = append(e.faults, fmt.Sprintf("stream %d: %s before the reply to another frame", s.StreamID(), f.Type))
	}
	e.heard = append(e.heard, heard{conn: conn, stream: s.StreamID(), typ: f.Type, msg: m})
	reply := e.answer(f, m)
	if reply == nil {
		return
	}
	*asked, *replied = true, false
	e.asking[f.Type]++
	e.mostAsking[f.Type] = max(e.mostAsking[f.Type], e.asking[f.Type])
	gate := e.held[f.Type]
	e.tasks.Go(func() {
		if gate != nil {
			<-gate
		}
		e.mu.Lock()
		*replied = true
		e.asking[f.Type]--
		e.replied++
		e.mu.Unlock()
		s.Write(reply) // and never Close
	})
}

// answer returns the reply to a message, nil where it has none; e.mu is held.
func (e *erlang) answer(f wire.Frame, m wire.Message) []byte {
	var reply wire.Message
	switch m := m.(type) {
	case *wire.Store:
		e.stored[string(m.Key)] = append([]wire.Raw{m.Value}, e.stored[string(m.Key)]...)
		return nil
	case *wire.Ping:
		reply = &wire.Pong{Timestamp: m.Timestamp, ServerTime: wire.Some(time.Now().UnixMilli())}
	case *wire.NATProbe:
		reply = &wire.NATProbeReply{NodeID: []byte("gateway"), RequestID: m.RequestID, ReflexiveIP: "127.0.0.1", ReflexivePort: 1}
	case *wire.FindNode:
		reply = &wire.FindNodeReply{}
	case *wire.FindValue:
		reply = &wire.FindValueReply{Values: e.stored[string(m.Key)]}
	case *wire.RPCRequest:
		reply = &wire.RPCReply{RequestID: m.RequestID, FromNode: []byte("gateway"), Error: "rpc_handler_not_available"}
	case *wire.Call:
		r := &wire.Reply{CallID: m.CallID, Error: &wire.CallError{Code: wire.CodeBootstrapOnly}}
		switch m.Procedure {
		case wire.ProcedureListGateways:
			r.Error, r.Result = nil, wire.GatewayList{{NodeID: []byte("gateway"), Host: "127.0.0.1", Port: 9443, Realm: "macula.default"}}.Raw()
		case wire.ProcedureStore:
			var args wire.StoreArgs
			if err := args.Decode(m.Args); err == nil {
				e.stored[string(args.Key)] = append([]wire.Raw{args.Value}, e.stored[string(args.Key)]...)
				r.Error, r.Result = nil, wire.RawMap(wire.Pair{Key: "status", Value: wire.RawText("ok")})
			}
		}
		reply = r
	default:
		return nil
	}
	if e.reply != nil {
		return e.reply(f)
	}
	b, err := wire.AppendFrame(nil, reply)
	if err != nil {
		e.faults = append(e.faults, err.Error())
	}
	return b
}

// look reads what the node has written down.
func (e *erlang) look(at func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at()
}

// count returns how many frames of the types, or of any, came.
func (e *erlang) count(types ...wire.Type) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.heard {
		for _, t := range types {
			if h.typ == t {
				n++
			}
		}
		if len(types) == 0 {
			n++
		}
	}
	return n
}

// requireSpared requires that nothing was done that would harm a real node, and
// that every stream was finished with.
func (e *erlang) requireSpared() {
	e.tb.Helper()
	eventually(e.tb, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.unfinished == 0
	}, "every stream is finished with")
	e.mu.Lock()
	defer e.mu.Unlock()
	require.Empty(e.tb, e.faults)
	require.Empty(e.tb, e.lost, "each receive event is a whole frame")
	streams := make(map[string]bool)
	for _, h := range e.heard {
		name := fmt.Sprintf("%p/%d", h.conn, h.stream)
		require.False(e.tb, streams[name], "one frame a stream")
		streams[name] = true
	}
}

// live returns how many connections are open.
func (e *erlang) live() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		if c.Context().Err() == nil {
			n++
		}
	}
	return n
}
