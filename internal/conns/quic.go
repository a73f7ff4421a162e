package conns

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/quic-go/quic-go"
)

// Bind says how a connection is closed when it has to give way. Without that it never
// does. A scope that is not a Manager's is left alone.
func Bind(scope network.ConnScope, close func()) {
	if s, ok := scope.(*connScope); ok {
		s.bind(close)
	}
}

// Settle ends the handshake of a connection of raw QUIC that a Manager has seen begin. Its
// peer has proved no identity, so it counts as one of a peer of its own. In the resource
// manager it leaves the transient scope, which has room for handshakes only. One that no
// manager has seen does not count; one that there is no room for is closed.
func Settle(conn *quic.Conn) error {
	scope, err := network.UnwrapConnManagementScope(conn.Context())
	if err != nil {
		return nil // not counted
	}
	if s, ok := scope.(*connScope); ok {
		err = scope.SetPeer(peer.ID(fmt.Sprintf("%s/%d", conn.ConnectionState().TLS.NegotiatedProtocol, s.pool.serial.Add(1))))
	}
	if err != nil {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnResourceLimitExceeded), "")
		return err
	}
	Bind(scope, func() {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(network.ConnGarbageCollected), "gives way to others")
	})
	return nil
}

// Stream is one on a connection of raw QUIC, which has no scopes of streams. Its zero
// value counts nowhere.
type Stream struct{ buffered buffered }

// OpenStream counts a stream on the connection whose context it is, until Done.
func OpenStream(ctx context.Context) *Stream {
	scope, err := network.UnwrapConnManagementScope(ctx)
	s, ok := scope.(*connScope)
	if err != nil || !ok {
		return &Stream{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.done {
		return &Stream{}
	}
	s.pool.stream(s.conn.of)
	return &Stream{buffered{pool: s.pool, of: s.conn.of}}
}

// ReserveMemory counts what is buffered; it fails with ErrGaveWay.
func (s *Stream) ReserveMemory(size int, _ uint8) error { return s.buffered.reserve(size) }

// ReleaseMemory gives it back.
func (s *Stream) ReleaseMemory(size int) { s.buffered.release(size) }

// Done ends it.
func (s *Stream) Done() {
	if of := s.buffered.end(); of != nil {
		s.buffered.pool.dropStream(of)
	}
}
