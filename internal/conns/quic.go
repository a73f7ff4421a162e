package conns

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/quic-go/quic-go"
)

// Bind says how a connection is closed when it has to give way. Without that it never
// does. A scope that is not a Manager's is left alone.
func Bind(scope network.ConnScope, close func()) {
	if s, ok := scope.(*connScope); ok {
		s.bind(close)
	}
}

// Conn is a connection of raw QUIC that counts.
type Conn struct{ scope *connScope }

// Settle ends the handshake of a connection of raw QUIC, which may give way to others from
// then on. Its peer has proved no identity, so it counts as one of a peer of its own. One
// that a Manager has seen begin counts in the pool of that one, any other in this one's. In
// a resource manager it leaves the transient scope, which has room for handshakes only. One
// that there is no room for is closed: the error is a network.ErrResourceLimitExceeded, or
// says that it is settled already.
func (m *Manager) Settle(conn *quic.Conn) (*Conn, error) {
	c, err := m.settle(conn)
	if err != nil {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnResourceLimitExceeded), "")
		return nil, err
	}
	Bind(c.scope, func() {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnGarbageCollected), "gives way to others")
	})
	return c, nil
}

func (m *Manager) settle(conn *quic.Conn) (*Conn, error) {
	seen, err := network.UnwrapConnManagementScope(conn.Context())
	if err != nil {
		seen = nil // by no resource manager
	}
	scope, counts := seen.(*connScope)
	if !counts {
		addr, err := quicreuse.ToQuicMultiaddr(conn.RemoteAddr(), quic.Version1)
		if err != nil {
			return nil, err
		}
		if scope, err = m.openConnection(network.DirInbound, false, addr, func() {}); err != nil {
			return nil, err
		}
		context.AfterFunc(conn.Context(), scope.Done)
	}
	id := peer.ID(fmt.Sprintf("%s/%d", conn.ConnectionState().TLS.NegotiatedProtocol, scope.pool.serial.Add(1)))
	if seen != nil && !counts {
		if err := seen.SetPeer(id); err != nil {
			return nil, err
		}
	}
	return &Conn{scope}, scope.SetPeer(id)
}

// OpenStream counts a stream on the connection, until Done.
func (c *Conn) OpenStream() *Stream {
	s := c.scope
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.done {
		return &Stream{}
	}
	s.pool.stream(s.conn.of)
	return &Stream{buffered{pool: s.pool, of: s.conn.of}}
}

// Stream is one on a connection of raw QUIC, which has no scopes of streams. Its zero
// value counts nowhere.
type Stream struct{ buffered buffered }

// ReserveMemory counts what is buffered; it fails with ErrGaveWay.
func (s *Stream) ReserveMemory(size int, _ uint8) error { return s.buffered.reserve(size) }

// ReleaseMemory gives it back.
func (s *Stream) ReleaseMemory(size int) { s.buffered.release(size) }

// Active notes that something comes on it.
func (s *Stream) Active() { s.buffered.active() }

// Done ends it.
func (s *Stream) Done() {
	if of := s.buffered.end(); of != nil {
		s.buffered.pool.dropStream(of)
	}
}
