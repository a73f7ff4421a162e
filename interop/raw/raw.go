// Package raw is a client of ALPN "macula" that sends frames and reads what comes: for
// tests that want to know each answer, where package glass is what a whole Erlang node does.
package raw

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
)

// Client makes connections over one port.
type Client struct {
	port      net.PacketConn
	transport quic.Transport
}

// New returns a client over a port, which it closes.
func New(port net.PacketConn) *Client {
	return &Client{port: port, transport: quic.Transport{Conn: port}}
}

// Close ends all connections and closes the port.
func (c *Client) Close() error { return errors.Join(c.transport.Close(), c.port.Close()) }

// Dial connects to whoever is at an address.
func (c *Client) Dial(ctx context.Context, to netip.AddrPort) (*Conn, error) {
	conf := &tls.Config{NextProtos: []string{"macula"}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	conn, err := c.transport.Dial(ctx, net.UDPAddrFromAddrPort(to), conf, &quic.Config{KeepAlivePeriod: 5 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("dial %v: %w", to, err)
	}
	return &Conn{conn}, nil
}

// Conn is a connection.
type Conn struct{ conn *quic.Conn }

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.CloseWithError(0, "") }

// Ended reports whether the connection has ended.
func (c *Conn) Ended() bool { return c.conn.Context().Err() != nil }

// Open opens a stream.
func (c *Conn) Open(ctx context.Context) (*Stream, error) {
	s, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	return &Stream{s, framing.NewReader(s)}, nil
}

// Ask asks on a stream of its own, and returns the answer.
func (c *Conn) Ask(ctx context.Context, m wire.Message) (wire.Message, error) {
	s, err := c.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Ask(ctx, m)
}

// Store has a value stored under a key, by _dht.store, and returns once that is acknowledged.
func (c *Conn) Store(ctx context.Context, key []byte, value wire.Raw) error {
	args := procedures.StoreArgs{Key: key, Value: value}
	answer, err := c.Ask(ctx, &wire.Call{Procedure: wire.ProcedureStore, Args: args.Raw(), CallID: key})
	if err != nil {
		return err
	}
	reply, ok := answer.(*wire.Reply)
	switch {
	case !ok:
		return fmt.Errorf("%s is no answer to %s", answer.Type(), wire.ProcedureStore)
	case reply.Error != nil:
		return reply.Error
	}
	return nil
}

// Find returns the values under a key; none is no error.
func (c *Conn) Find(ctx context.Context, key []byte) ([]wire.Raw, error) {
	answer, err := c.Ask(ctx, &wire.FindValue{Key: key})
	if err != nil {
		return nil, err
	}
	reply, ok := answer.(*wire.FindValueReply)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s is no answer to FIND_VALUE", answer.Type())
	case reply.Reason != "":
		return nil, fmt.Errorf("refused: %s", reply.Reason)
	}
	return reply.Values, nil
}

// Connect CONNECTs on a stream that stays, as a node does that joins.
func (c *Conn) Connect(ctx context.Context, nodeID []byte, realm string) (*Stream, error) {
	s, err := c.Open(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := s.Ask(ctx, &wire.Connect{Version: "1.0", NodeID: nodeID, RealmID: realm, Endpoint: "https://127.0.0.1:1"})
	if err == nil {
		if _, ok := answer.(*wire.Pong); ok {
			return s, nil
		}
		err = fmt.Errorf("CONNECT answered by %s", answer.Type())
	}
	s.Close()
	return nil, err
}

// Stream is a stream of a connection.
type Stream struct {
	stream *quic.Stream
	in     *framing.Reader
}

// Close gives the stream up.
func (s *Stream) Close() {
	s.stream.CancelRead(0)
	_ = s.stream.Close() // it may have been reset
}

// Send sends messages in one Write.
func (s *Stream) Send(ctx context.Context, messages ...wire.Message) error {
	var b []byte
	var err error
	for _, m := range messages {
		if b, err = framing.AppendFrame(b, m); err != nil {
			return err
		}
	}
	deadline, _ := ctx.Deadline()
	_ = s.stream.SetDeadline(deadline)
	_, err = s.stream.Write(b)
	return err
}

// Ask sends a message, and returns the next that comes.
func (s *Stream) Ask(ctx context.Context, m wire.Message) (wire.Message, error) {
	if err := s.Send(ctx, m); err != nil {
		return nil, fmt.Errorf("send %s: %w", m.Type(), err)
	}
	f, err := s.in.Next()
	if err != nil {
		return nil, fmt.Errorf("answer to %s: %w", m.Type(), err)
	}
	return f.Decode()
}
