// Package servertest has tests serve streams in memory, and be at their other ends.
package servertest

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// typeHello tells the test its Peer; it is none of Macula's types.
const typeHello wire.Type = 0xe0

// Rig serves streams in memory by a Mux, for one peer.
type Rig struct {
	T       testing.TB
	Mux     *server.Mux // serves the next stream
	Account *budget.Account
	Wrap    func(net.Conn) net.Conn // the server's end; may be nil
	Remote  netip.AddrPort          // where the peer is seen
	Who     peer.ID                 // whom it proves to be

	peers chan *server.Peer
}

// NewRig returns a rig of a Mux, from which its own differs in a handler alone.
func NewRig(tb testing.TB, mux *server.Mux) *Rig {
	tb.Helper()
	r := &Rig{T: tb, peers: make(chan *server.Peer, 1)}
	r.Account = mux.Budget().Open(budget.Source{Name: "alice"})
	tb.Cleanup(r.Account.Close)
	r.Mux = mux.With(typeHello, func(p *server.Peer, _ framing.Frame) error {
		select {
		case r.peers <- p:
		default: // a fuzzer says it more often
		}
		return nil
	})
	return r
}

// Asker is the other end of a stream in memory. A Write of either end waits for the
// Read that takes it, so a test chooses what each Read brings.
type Asker struct {
	halfConn

	T        testing.TB
	In       *framing.Reader
	Peer     *server.Peer // the server's
	Stream   *Stream      // the server's
	Shutdown context.CancelFunc
	Started  time.Time
	Ended    chan error // has what Serve returned

	mux *server.Mux
}

// Serve serves one more stream of a dialect, and returns when the server reads it.
func (r *Rig) Serve(d server.Dialect) *Asker {
	r.T.Helper()
	return r.ServeSession(&server.Session{Dialect: d})
}

// ServeSession serves one of a session, whose peer is the rig's.
func (r *Rig) ServeSession(s *server.Session) *Asker {
	r.T.Helper()
	s.Account, s.Remote, s.Peer = r.Account, r.Remote, r.Who
	toServer, asked := net.Pipe()
	answers, toPeer := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	a := &Asker{
		halfConn: halfConn{answers, toServer},
		T:        r.T,
		In:       framing.NewReader(answers),
		Stream:   NewStream(halfConn{asked, toPeer}),
		Shutdown: cancel,
		Started:  time.Now(),
		Ended:    make(chan error, 1),
		mux:      r.Mux,
	}
	if r.Wrap != nil {
		a.Stream.Conn = r.Wrap(a.Stream.Conn)
	}
	go func() {
		a.Ended <- a.mux.Serve(ctx, a.Stream, s)
		cancel()
	}()
	a.Send(dhttest.Frame(typeHello))
	a.Peer = <-r.peers
	return a
}

// RequireNothingHeld requires that the account has all its memory back.
func (r *Rig) RequireNothingHeld() {
	r.T.Helper()
	held, _ := r.Account.Usage()
	require.Zero(r.T, held.Memory, "bytes of the account")
}

// Fill takes all of the account but so many bytes, and returns what gives it back.
func (r *Rig) Fill(left int) (giveBack func()) {
	r.T.Helper()
	held, _ := r.Account.Usage()
	n := int(r.Mux.Limits().Accounts.Source.Memory-held.Memory) - left
	require.NoError(r.T, r.Account.ReserveMemory(n, 255))
	return func() { r.Account.ReleaseMemory(n) }
}

// Send writes all of b.
func (a *Asker) Send(b []byte) {
	a.T.Helper()
	_, err := a.Write(b)
	require.NoError(a.T, err)
}

// Next returns the next frame that comes.
func (a *Asker) Next() framing.Frame {
	a.T.Helper()
	f, err := a.In.Next()
	require.NoError(a.T, err)
	return f
}

// Message returns the next message that comes.
func (a *Asker) Message() wire.Message {
	a.T.Helper()
	m, err := a.Next().Decode()
	require.NoError(a.T, err)
	return m
}

// Ask sends a message, and returns the next that comes.
func (a *Asker) Ask(m wire.Message) wire.Message {
	a.T.Helper()
	a.Send(dhttest.Frames(a.T, m))
	return a.Message()
}

// Connect has it CONNECT under a node id.
func (a *Asker) Connect(nodeID string) {
	a.T.Helper()
	require.IsType(a.T, &wire.Pong{}, a.Ask(&wire.Connect{NodeID: []byte(nodeID), RealmID: proto.DefaultRealm}))
}

// RequireEnd closes its end and requires that the stream ends in order.
func (a *Asker) RequireEnd() {
	a.T.Helper()
	require.NoError(a.T, a.Close())
	require.NoError(a.T, <-a.Ended)
	require.Empty(a.T, a.Stream.Resets)
}

// RequireReset waits for the reset, and requires when it came, and that it is counted.
func (a *Asker) RequireReset(code proto.ResetCode, after time.Duration) {
	a.T.Helper()
	reset := <-a.Stream.Resets
	require.Equal(a.T, code, reset.Code)
	require.Equal(a.T, after, reset.At.Sub(a.Started))
	require.Error(a.T, <-a.Ended)
	require.Positive(a.T, a.mux.Stats().Resets[code])
}

// Stream is the server's end of a stream in memory.
type Stream struct {
	net.Conn

	Resets chan Reset // has the first
	once   sync.Once
}

// Reset is one, and when it came.
type Reset struct {
	Code proto.ResetCode
	At   time.Time
}

// NewStream returns the stream of a connection.
func NewStream(c net.Conn) *Stream { return &Stream{Conn: c, Resets: make(chan Reset, 1)} }

// Reset implements server.Stream.
func (s *Stream) Reset(code proto.ResetCode) {
	s.once.Do(func() { s.Resets <- Reset{code, time.Now()} })
	s.Conn.Close()
}

// halfConn reads from one connection and writes to another, so that either
// direction may end before the other.
type halfConn struct {
	net.Conn // is read
	out      net.Conn
}

func (c halfConn) Write(b []byte) (int, error)        { return c.out.Write(b) }
func (c halfConn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

// CloseWrite ends what is written.
func (c halfConn) CloseWrite() error { return c.out.Close() }

func (c halfConn) Close() error {
	c.out.Close()
	return c.Conn.Close()
}

// ErlangID returns a node id of a length that Erlang nodes survive.
func ErlangID(name string) string { return name + strings.Repeat("-", 64-len(name)) }
