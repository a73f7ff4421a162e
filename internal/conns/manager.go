package conns

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
)

// Manager is a resource manager whose connections and streams count in a Pool.
type Manager struct {
	network.ResourceManager
	pool *Pool
}

// NewManager returns a manager that asks resources and counts in a pool; both are closed
// with it.
func NewManager(resources network.ResourceManager, pool *Pool) *Manager {
	return &Manager{ResourceManager: resources, pool: pool}
}

// Pool returns what it counts in.
func (m *Manager) Pool() *Pool { return m.pool }

// Close closes the pool and the resource manager.
func (m *Manager) Close() error {
	m.pool.Close()
	return m.ResourceManager.Close()
}

// GetConnLimit returns how many connections the resource manager allows.
func (m *Manager) GetConnLimit() int {
	if l, ok := m.ResourceManager.(interface{ GetConnLimit() int }); ok {
		return l.GetConnLimit()
	}
	return int(m.pool.limits.Memory / ConnCost)
}

// VerifySourceAddress reports whether who wants to begin a handshake has to prove its
// address first, by a Retry.
func (m *Manager) VerifySourceAddress(addr net.Addr) bool {
	udp, ok := addr.(*net.UDPAddr)
	return !ok || m.pool.handshakes.prove(udp.AddrPort().Addr())
}

// ConnContext counts a connection that comes in over QUIC, before its handshake and
// whatever its ALPN, until it ends. The context has its scope (network.UnwrapConnManagementScope).
// It is for quic.Transport and quicreuse.
func (m *Manager) ConnContext(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	addr, err := quicreuse.ToQuicMultiaddr(client.RemoteAddr, quic.Version1)
	if err != nil {
		return ctx, err
	}
	end, err := m.pool.handshakes.begin(ipOf(addr), client.AddrVerified)
	if err != nil {
		return ctx, err
	}
	scope, err := m.openConnection(network.DirInbound, false, addr, end)
	if err != nil {
		end()
		return ctx, err
	}
	context.AfterFunc(ctx, scope.Done)
	return network.WithConnManagementScope(ctx, scope), nil
}

// OpenConnection implements network.ResourceManager.
func (m *Manager) OpenConnection(dir network.Direction, usefd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	scope, err := m.openConnection(dir, usefd, endpoint, func() {})
	if err != nil {
		return nil, err // and no scope: a nil one of ours would not be nil to who looks
	}
	return scope, nil
}

func (m *Manager) openConnection(dir network.Direction, usefd bool, endpoint ma.Multiaddr, handshaken func()) (*connScope, error) {
	scope, err := m.ResourceManager.OpenConnection(dir, usefd, endpoint)
	if err != nil {
		return nil, err
	}
	return &connScope{ConnManagementScope: scope, pool: m.pool, ip: ipOf(endpoint), handshaken: handshaken}, nil
}

// OpenStream implements network.ResourceManager.
func (m *Manager) OpenStream(p peer.ID, dir network.Direction) (network.StreamManagementScope, error) {
	scope, err := m.ResourceManager.OpenStream(p, dir)
	if err != nil {
		return nil, err
	}
	of := m.pool.holder(p)
	m.pool.stream(of)
	return &streamScope{StreamManagementScope: scope, buffered: buffered{pool: m.pool, of: of}}, nil
}

func ipOf(addr ma.Multiaddr) netip.Addr {
	if addr == nil {
		return netip.Addr{}
	}
	ip, err := manet.ToIP(addr)
	if err != nil {
		return netip.Addr{}
	}
	of, _ := netip.AddrFromSlice(ip)
	return of
}

// buffered is what a scope has reserved.
type buffered struct {
	pool *Pool

	mu   sync.Mutex
	of   *holder // nil: nobody yet, or nobody who counts
	size int
	done bool
}

// reserve counts size bytes that an inner scope has taken.
func (b *buffered) reserve(size int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of != nil && !b.done {
		if err := b.pool.buffer(b.of, size); err != nil {
			return err
		}
	}
	b.size += size
	return nil
}

func (b *buffered) release(size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.size -= size
	if b.of != nil && !b.done {
		_ = b.pool.buffer(b.of, -size) // less is always possible
	}
}

// active notes that its holder does something: who only holds what it has goes first.
func (b *buffered) active() {
	if b.pool != nil {
		b.pool.touch(b.of)
	}
}

// end gives back what is reserved, and returns whose it was, once.
func (b *buffered) end() *holder {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done || b.of == nil {
		b.done = true
		return nil
	}
	b.done = true
	_ = b.pool.buffer(b.of, -b.size)
	return b.of
}

// connScope counts in a pool once its peer is known.
type connScope struct {
	network.ConnManagementScope
	pool       *Pool
	ip         netip.Addr
	handshaken func()

	buffered buffered
	mu       sync.Mutex
	conn     *conn
	close    func()
	done     bool
}

// SetPeer implements network.ConnManagementScope.
func (s *connScope) SetPeer(p peer.ID) error {
	if err := s.ConnManagementScope.SetPeer(p); err != nil {
		return err
	}
	s.handshaken()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || s.conn != nil {
		return nil
	}
	s.conn = s.pool.open(p, s.ip)
	s.buffered.belong(s.pool, s.conn.of)
	if s.close != nil {
		s.pool.bind(s.conn, s.close)
	}
	return nil
}

// belong says whose what is reserved is.
func (b *buffered) belong(pool *Pool, of *holder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pool, b.of = pool, of
	if pool.buffer(of, b.size) != nil {
		b.size = 0
	}
}

// bind says how the connection is closed when it has to give way.
func (s *connScope) bind(close func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close = close
	if s.conn != nil && !s.done {
		s.pool.bind(s.conn, close)
	}
}

// Done implements network.ConnManagementScope.
func (s *connScope) Done() {
	s.ConnManagementScope.Done()
	s.handshaken()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return
	}
	s.done = true
	s.buffered.end()
	if s.conn != nil {
		s.pool.drop(s.conn)
	}
}

// ReserveMemory implements network.ResourceScope.
func (s *connScope) ReserveMemory(size int, prio uint8) error {
	if err := s.ConnManagementScope.ReserveMemory(size, prio); err != nil {
		return err
	}
	if err := s.buffered.reserve(size); err != nil {
		s.ConnManagementScope.ReleaseMemory(size)
		return err
	}
	return nil
}

// ReleaseMemory implements network.ResourceScope.
func (s *connScope) ReleaseMemory(size int) {
	s.buffered.release(size)
	s.ConnManagementScope.ReleaseMemory(size)
}

// streamScope is that of a libp2p stream.
type streamScope struct {
	network.StreamManagementScope
	buffered buffered
}

// ReserveMemory implements network.ResourceScope.
func (s *streamScope) ReserveMemory(size int, prio uint8) error {
	if err := s.StreamManagementScope.ReserveMemory(size, prio); err != nil {
		return err
	}
	if err := s.buffered.reserve(size); err != nil {
		s.StreamManagementScope.ReleaseMemory(size)
		return err
	}
	return nil
}

// ReleaseMemory implements network.ResourceScope.
func (s *streamScope) ReleaseMemory(size int) {
	s.buffered.release(size)
	s.StreamManagementScope.ReleaseMemory(size)
}

// Active notes that something comes on the stream; see server.HostStream.
func (s *streamScope) Active() { s.buffered.active() }

// Done implements network.ResourceScopeSpan.
func (s *streamScope) Done() {
	s.StreamManagementScope.Done()
	if of := s.buffered.end(); of != nil {
		s.buffered.pool.dropStream(of)
	}
}
