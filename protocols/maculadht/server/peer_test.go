package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
)

// Types that are none of Macula's, for what a test handles itself.
const (
	typeHello wire.Type = 0xe0 + iota // tells the test its Peer
	typeAsk
)

// halfConn reads from one connection and writes to another, so that either
// direction may end before the other.
type halfConn struct {
	net.Conn // is read
	out      net.Conn
}

func (c halfConn) Write(b []byte) (int, error)        { return c.out.Write(b) }
func (c halfConn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }
func (c halfConn) CloseWrite() error                  { return c.out.Close() }
func (c halfConn) Close() error {
	c.out.Close()
	return c.Conn.Close()
}

// rig serves streams in memory.
type rig struct {
	t        testing.TB
	handlers *Handlers
	mux      *Mux
	account  *budget.Account
	peers    chan *Peer
	wrap     func(net.Conn) net.Conn // the server's end; may be nil
	remote   netip.AddrPort          // where the peers are seen
	who      peer.ID                 // whom they prove to be
}

func newRig(t testing.TB, opts ...Option) *rig {
	t.Helper()
	h := newHandlers(t, opts...)
	r := &rig{t: t, handlers: h, mux: h.Mux(), peers: make(chan *Peer, 1)}
	r.account = h.Budget().Open(budget.Source{Name: "alice"})
	t.Cleanup(r.account.Close)
	require.NoError(t, r.mux.Handle(typeHello, func(p *Peer, _ wire.Frame) error {
		select {
		case r.peers <- p:
		default: // a fuzzer says it more often
		}
		return nil
	}))
	return r
}

// limits returns the default limits with these changed.
func limits(change func(*Limits)) Option {
	l := DefaultLimits()
	change(&l)
	return WithLimits(l)
}

// memPeer is the other end of a stream in memory.
type memPeer struct {
	halfConn

	t        testing.TB
	in       *wire.Reader
	peer     *Peer // the server's
	stream   *memStream
	shutdown context.CancelFunc
	ended    chan error
}

// serve serves one more stream, and returns when the server reads it.
func (r *rig) serve(d Dialect) *memPeer {
	r.t.Helper()
	toServer, asked := net.Pipe()
	answers, toPeer := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	p := &memPeer{
		halfConn: halfConn{answers, toServer},
		t:        r.t,
		in:       wire.NewReader(answers),
		stream:   &memStream{Conn: halfConn{asked, toPeer}, reset: make(chan resetAt, 1)},
		shutdown: cancel,
		ended:    make(chan error, 1),
	}
	if r.wrap != nil {
		p.stream.Conn = r.wrap(p.stream.Conn)
	}
	mux := r.mux
	go func() {
		p.ended <- mux.Serve(ctx, p.stream, &Session{Dialect: d, Account: r.account, Remote: r.remote, Peer: r.who})
		cancel()
	}()
	p.write(dhttest.Frame(typeHello))
	p.peer = <-r.peers
	return p
}

func (p *memPeer) write(b []byte) {
	p.t.Helper()
	_, err := p.Write(b)
	require.NoError(p.t, err)
}

func (p *memPeer) next() wire.Frame {
	p.t.Helper()
	f, err := p.in.Next()
	require.NoError(p.t, err)
	return f
}

// requireEnd closes the peer's side and requires that the stream ends in order.
func (p *memPeer) requireEnd() {
	p.t.Helper()
	require.NoError(p.t, p.Close())
	require.NoError(p.t, <-p.ended)
}

// requireNothingHeld requires that the account has all its memory back.
func (r *rig) requireNothingHeld() {
	r.t.Helper()
	held, _ := r.account.Usage()
	require.Zero(r.t, held.Memory)
}

func numbered(n uint32) []byte {
	return dhttest.Frame(typeAsk, binary.BigEndian.AppendUint32(nil, n)...)
}

func numberOf(f wire.Frame) uint32 { return binary.BigEndian.Uint32(f.Payload) }

func pong(n uint32) *wire.Pong { return &wire.Pong{Timestamp: wire.Some(int64(n))} }

// Answers, at once and later, and what is pushed do not get in each other's way.
func TestPushesBetweenReplies(t *testing.T) {
	const asked, pushers, pushed = 1500, 8, 200
	r := newRig(t, limits(func(l *Limits) { l.Queue, l.Slots = 16<<20, asked }))
	var fillers sync.WaitGroup
	require.NoError(t, r.mux.Handle(typeAsk, func(p *Peer, f wire.Frame) error {
		n := numberOf(f)
		if n%3 > 0 {
			return p.Reply(pong(n))
		}
		slot, err := p.Defer(DefaultLimits().SlotTime, pong(1<<30))
		if err != nil {
			return err
		}
		fillers.Go(func() {
			if err := slot.Fill(pong(n)); err != nil {
				t.Error(err)
			}
		})
		return nil
	}))
	p := r.serve(LibP2P())

	var senders sync.WaitGroup
	for who := range pushers {
		senders.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(who), 1))
			for n := range uint32(pushed) {
				payload := append([]byte{byte(who)}, binary.BigEndian.AppendUint32(nil, n)...)
				payload = append(payload, bytes.Repeat([]byte{byte(n)}, rng.IntN(2000))...)
				if err := p.peer.Push(dhttest.Frame(wire.TypePublish, payload...)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Go(func() {
		for n := range uint32(asked) {
			if _, err := p.Write(numbered(n)); err != nil {
				t.Error(err)
			}
		}
	})
	var answers uint32
	var pushes [pushers]uint32
	for range asked + pushers*pushed {
		switch f := p.next(); f.Type {
		case wire.TypePong:
			m, err := f.Decode()
			require.NoError(t, err)
			require.Equal(t, wire.Some(int64(answers)), m.(*wire.Pong).Timestamp)
			answers++
		case wire.TypePublish:
			who, n := f.Payload[0], binary.BigEndian.Uint32(f.Payload[1:])
			require.Equal(t, pushes[who], n, "of pusher %d", who)
			rest := f.Payload[5:]
			require.Equal(t, len(rest), bytes.Count(rest, []byte{byte(n)}), "it is whole")
			pushes[who]++
		default:
			t.Fatalf("a frame of type %s", f.Type)
		}
	}
	senders.Wait()
	fillers.Wait()
	require.EqualValues(t, asked, answers)
	p.requireEnd()
	require.Zero(t, r.mux.Stats().PushesDropped)
	r.requireNothingHeld()
}
