package glass

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
)

var errOneHandshake = errors.New("busy with another handshake")

// line is where a gateway listens, and from where it dials.
type line struct {
	addr      *net.UDPAddr
	packets   net.PacketConn
	transport *quic.Transport
	listener  *quic.Listener
}

// close ends all connections without a word. The port goes first, which ends the
// reading of it on any network.
func (l line) close() error { return errors.Join(l.packets.Close(), l.transport.Close()) }

// listen opens the port.
func (g *Gateway) listen(address string) (l line, err error) {
	if l.packets, err = g.openPackets(address); err != nil {
		return line{}, err
	}
	l.addr = l.packets.LocalAddr().(*net.UDPAddr)
	l.transport = &quic.Transport{Conn: l.packets, ConnContext: g.oneAtATime}
	gated := &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			g.waitFor(g.handshakeGate())
			return g.cfg.tls, nil
		},
	}
	if l.listener, err = l.transport.Listen(gated, quicConfig()); err != nil {
		return line{}, errors.Join(err, l.close())
	}
	return l, nil
}

func (g *Gateway) openPackets(address string) (net.PacketConn, error) {
	if g.cfg.network != nil {
		return g.cfg.network(address)
	}
	network := "udp"
	if g.cfg.ipv4Only {
		network = "udp4"
	}
	addr, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	return net.ListenUDP(network, addr)
}

func quicConfig() *quic.Config {
	return &quic.Config{
		Versions:              []quic.Version{quic.Version1},
		MaxIncomingStreams:    StreamCredit,
		MaxIncomingUniStreams: -1,
		MaxIdleTimeout:        60 * time.Second,
		KeepAlivePeriod:       20 * time.Second,
	}
}

// handshake is the one that is under way. Its context is the connection's.
type handshake struct{ _ byte }

type handshakeKey struct{}

// firstFlight is how far the first packets of a handshake are apart. A client
// that was refused may have sent more of them, which must not begin another one.
const firstFlight = 20 * time.Millisecond

// oneAtATime refuses a handshake while another is under way.
func (g *Gateway) oneAtATime(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	from := client.RemoteAddr.String()
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.refusals[from]) < firstFlight {
		return ctx, errOneHandshake
	}
	if !g.admit(client.RemoteAddr) {
		g.refusals[from] = time.Now()
		return ctx, errTooMany
	}
	if g.shaking != nil {
		g.stats.Refused++
		g.refusals[from] = time.Now()
		return ctx, errOneHandshake
	}
	delete(g.refusals, from)
	h := &handshake{}
	g.shaking = h
	context.AfterFunc(ctx, func() { g.shaken(h) }) // where it fails
	return context.WithValue(ctx, handshakeKey{}, h), nil
}

// shaken ends a handshake.
func (g *Gateway) shaken(h *handshake) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shaking == h {
		g.shaking = nil
	}
}

func (g *Gateway) accept(ln *quic.Listener) {
	for {
		conn, err := ln.Accept(g.ctx)
		if err != nil {
			return
		}
		if h, ok := conn.Context().Value(handshakeKey{}).(*handshake); ok {
			g.shaken(h)
		}
		g.spawn(func() { g.serveConn(conn) })
	}
}

// serveConn takes the streams of a connection until it ends.
func (g *Gateway) serveConn(conn *quic.Conn) {
	g.mu.Lock()
	g.stats.Accepted++
	g.conns[conn] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, conn)
	}()
	for {
		s, err := conn.AcceptStream(g.ctx)
		if err != nil {
			return
		}
		g.mu.Lock()
		g.stats.Streams++
		g.mu.Unlock()
		if !g.spawn(func() { g.serveStream(&stream{Stream: s, conn: conn}) }) {
			return
		}
	}
}

// stream is a stream that a client opened.
type stream struct {
	*quic.Stream
	conn *quic.Conn

	welcome bool        // it has CONNECTed and has its PONG; guarded by Gateway.mu
	frames  int         // guarded by Gateway.mu
	waiting []wire.Type // the frames not yet replied to; guarded by Gateway.mu
	blamed  bool        // it has crashed the gateway; guarded by Gateway.mu
}

// serveStream takes each receive event for a whole frame. It never ends its own
// side.
func (g *Gateway) serveStream(s *stream) {
	context.AfterFunc(s.Context(), func() { g.onStopped(s) })
	buffer := g.buffers.Get().(*[]byte)
	defer g.buffers.Put(buffer)
	for {
		event, err := g.receive(s, *buffer)
		if len(event) > 0 {
			g.onEvent(s, event)
		}
		if err != nil {
			g.onEnd(s, err)
			return
		}
	}
}

// receive returns one receive event. Where QUIC has cut a frame into packets the
// rest is waited for, but not for long.
func (g *Gateway) receive(s *stream, buffer []byte) ([]byte, error) {
	n, err := s.Read(buffer)
	if err != nil || n == len(buffer) || isWhole(buffer[:n]) {
		return buffer[:n], err
	}
	for err == nil && n < len(buffer) && !isWhole(buffer[:n]) {
		s.SetReadDeadline(time.Now().Add(g.cfg.eventGap))
		var more int
		more, err = s.Read(buffer[n:])
		n += more
	}
	s.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = nil
	case err != nil && !endsStream(err):
		return nil, err // what the connection's end has cut is nobody's fault
	}
	return buffer[:n], err
}

// endsStream reports whether an error is the end of a stream, and not of its
// connection.
func endsStream(err error) bool {
	_, reset := errors.AsType[*quic.StreamError](err)
	return reset || errors.Is(err, io.EOF)
}

// isWhole reports whether a frame is all there, or is none.
func isWhole(event []byte) bool {
	_, _, err := framing.DecodeFrame(event)
	return !errors.Is(err, framing.ErrShortHeader) && !errors.Is(err, framing.ErrTruncated) && !errors.Is(err, framing.ErrTooLarge)
}

// onEvent decodes an event as the reference does: what is behind its first
// frame is lost.
func (g *Gateway) onEvent(s *stream, event []byte) {
	f, rest, err := framing.DecodeFrame(event)
	if err == nil {
		f.Payload = bytes.Clone(f.Payload)
		err = f.Check()
	}
	g.mu.Lock()
	if len(rest) > 0 && err == nil {
		g.lose(fmt.Sprintf("%d bytes behind a %s frame", len(rest), f.Type))
	}
	switch {
	case errors.Is(err, wire.ErrNotMap):
		g.crashGateway(CauseNotMap, f.Type.String())
		g.mu.Unlock()
		s.conn.CloseWithError(0, "")
		return
	case err != nil:
		g.lose(err.Error())
		g.mu.Unlock()
		return
	}
	g.heard(s, f)
	g.mu.Unlock()

	if !g.turn.take(g.ctx) {
		return
	}
	reply := g.handle(s, f.Type, f.Payload)
	g.turn.give()
	if reply == nil {
		g.mu.Lock()
		g.answered(s, f.Type)
		g.mu.Unlock()
		return
	}
	g.reply(s, f, reply)
}

// reply sends a reply, unless it is held back.
func (g *Gateway) reply(s *stream, f framing.Frame, b []byte) {
	gate, instead := g.replyHooks(f.Type)
	if instead != nil {
		if other := instead(f); other != nil {
			b = other
		}
	}
	if gate == nil {
		g.write(s, f.Type, b)
		return
	}
	g.spawn(func() {
		if g.waitFor(gate) {
			g.write(s, f.Type, b)
		}
	})
}

// write sends a reply. That nobody reads it crashes some of the reference's
// senders.
func (g *Gateway) write(s *stream, t wire.Type, b []byte) {
	g.mu.Lock()
	g.answered(s, t)
	g.stats.Replies++
	g.mu.Unlock()
	_, err := s.Write(b)
	g.mu.Lock()
	defer g.mu.Unlock()
	if stopped(err) {
		g.blame(s, t)
	} else if t == wire.TypeConnect && err == nil {
		s.welcome = true
	}
}

// stopped reports whether an error is a STOP_SENDING of the other side.
func stopped(err error) bool {
	e, ok := errors.AsType[*quic.StreamError](err)
	return ok && e.Remote
}

// blame crashes the gateway for a reply of which it was not let go; g.mu is held.
func (g *Gateway) blame(s *stream, t wire.Type) {
	switch t {
	case wire.TypePing, wire.TypeConnect, wire.TypeNATProbe:
		if !s.blamed {
			s.blamed = true
			g.crashGateway(CauseStopSending, t.String())
		}
	}
}

// onStopped is called when our side of a stream can not be written to any more.
func (g *Gateway) onStopped(s *stream) {
	if !stopped(context.Cause(s.Context())) {
		return // it went with its connection
	}
	s.CancelWrite(0) // as the reference's QUIC library does by itself
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range s.waiting {
		g.lapse(fmt.Sprintf("stream %d: STOP_SENDING before the reply to %s", s.StreamID(), t))
		g.blame(s, t)
	}
}

// onEnd is called when a client's side of a stream has ended.
func (g *Gateway) onEnd(s *stream, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Streams--
	if len(s.waiting) > 0 && errors.Is(err, io.EOF) {
		g.lapse(fmt.Sprintf("stream %d: FIN before the reply to %s", s.StreamID(), s.waiting[0]))
	}
}
