package maculadht

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/upkeep"
)

// Values that were stored once outlive a restart of every node, one at a time,
// though none keeps them over a restart of its own.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const nodes, values = 5, 100
	for name, inOrder := range map[string]bool{"killed": false, "stopped in order": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onlyBack := WithUpkeep(upkeep.WithHandOver(time.Hour, upkeep.DefaultHandOverRate)) // newcomers get nothing
			identities := make([]libp2p.Option, nodes)
			services := make([]*Service, nodes)
			for i := range services {
				identities[i], _ = newIdentity(t)
				services[i] = newService(t, dhttest.Host(t, identities[i]), onlyBack)
			}
			joinAll(t, services...)
			value := func(i int) wire.Raw {
				return dhttest.Value(fmt.Sprint("provider ", i), wire.Pair{Key: "ttl", Value: wire.RawInt(3600)})
			}
			for i := range values {
				_, err := services[i%nodes].Store(dhttest.Context(t), keyOf(fmt.Sprint(i)), value(i))
				require.NoError(t, err)
			}
			for i := range services {
				if inOrder {
					require.NoError(t, services[i].Close())
				}
				require.NoError(t, services[i].host.Close())
				require.NoError(t, services[i].Close())
				services[i] = newService(t, dhttest.Host(t, identities[i]), onlyBack)
				for j, other := range services {
					if j != i {
						require.NoError(t, services[i].Join(t.Context(), infoOf(other.host)))
					}
				}
				joined(t, services[i])
				joinAll(t, services...)
				for v := range values {
					found, err := services[(i+v)%nodes].FindValues(dhttest.Context(t), keyOf(fmt.Sprint(v)))
					require.NoError(t, err, "value %d after the restart of %d", v, i)
					require.Equal(t, value(v), found.Values[0].Raw)
				}
				eventually(t, func() bool { return services[i].Routing().Records().Stats().Keys == values }, "it has them all again")
			}
		})
	}
}

// What only one node has is there when it has left in order.
func TestCloseHandsOver(t *testing.T) {
	services := chain(t, 3)
	joinAll(t, services...)
	key, value := keyOf("only here"), dhttest.Value("me", wire.Pair{Key: "ttl", Value: wire.RawInt(60)})
	v, err := values.Parse(value)
	require.NoError(t, err)
	require.NoError(t, services[0].Routing().Records().Store(t.Context(), records.Put{Key: key, Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL}))
	start := time.Now()
	require.NoError(t, services[0].Close())
	require.Less(t, time.Since(start), leaveTimeout)
	require.NoError(t, services[0].host.Close())
	for _, s := range services[1:] {
		found, err := s.FindValues(dhttest.Context(t), key)
		require.NoError(t, err)
		require.Equal(t, value, found.Values[0].Raw)
	}
}

// cable is a wire that can be cut between a host and those that dial it.
type cable struct {
	cut    atomic.Bool
	listen *net.UDPConn
	to     *net.UDPAddr
	mu     sync.Mutex
	back   map[string]*net.UDPConn
	tasks  sync.WaitGroup
}

// newCable returns a cable that leads to a QUIC address.
func newCable(t *testing.T, to ma.Multiaddr) *cable {
	t.Helper()
	listen, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	c := &cable{listen: listen, to: net.UDPAddrFromAddrPort(addressing.AddrPortOf(to)), back: map[string]*net.UDPConn{}}
	c.tasks.Go(c.forward)
	t.Cleanup(func() {
		listen.Close()
		c.mu.Lock()
		for _, conn := range c.back {
			conn.Close()
		}
		c.mu.Unlock()
		c.tasks.Wait()
	})
	return c
}

func (c *cable) forward() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.listen.ReadFromUDP(b)
		if err != nil {
			return
		}
		c.mu.Lock()
		conn := c.back[from.String()]
		if conn == nil {
			if conn, err = net.DialUDP("udp4", nil, c.to); err != nil {
				c.mu.Unlock()
				return
			}
			c.back[from.String()] = conn
			c.tasks.Go(func() { c.backward(conn, from) })
		}
		c.mu.Unlock()
		if !c.cut.Load() {
			conn.Write(b[:n])
		}
	}
}

func (c *cable) backward(conn *net.UDPConn, to *net.UDPAddr) {
	b := make([]byte, 1<<16)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if !c.cut.Load() {
			c.listen.WriteToUDP(b[:n], to)
		}
	}
}

func (c *cable) addr(t *testing.T) ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", c.listen.LocalAddr().(*net.UDPAddr).Port))
}

// A peer that was killed, and is back with its key on another port, is asked there at
// once, and stays in the table: the old connection looks alive for half a minute yet.
func TestKilledAndBackOnAnotherPort(t *testing.T) {
	identity, id := newIdentity(t)
	old := dhttest.Host(t, identity)
	cable := newCable(t, old.Addrs()[0])
	newService(t, old)
	s := newService(t, dhttest.Host(t))
	require.NoError(t, s.Join(t.Context(), peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{cable.addr(t)}}))
	joined(t, s)
	_, err := s.FindValues(dhttest.Context(t), keyOf("k"))
	require.ErrorIs(t, err, ErrNotFound)

	cable.cut.Store(true)
	again := newService(t, dhttest.Host(t, identity))
	var lookups sync.WaitGroup
	for range 4 { // which are under way when it comes back
		lookups.Go(func() { _, _ = s.FindValues(dhttest.Context(t), keyOf("k")) })
	}
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, again.Join(t.Context(), infoOf(s.host)))
	joined(t, again)
	for range 4 {
		lookups.Go(func() {
			start := time.Now()
			_, err := s.FindValues(dhttest.Context(t), keyOf("k"))
			require.ErrorIs(t, err, ErrNotFound)
			require.Less(t, time.Since(start), 2*time.Second)
		})
	}
	lookups.Wait()
	require.True(t, confirms(s, again.Routing().Self()))
}

// Who was dropped, and is connected and answers, is taken back by itself.
func TestDroppedAndTakenBack(t *testing.T) {
	a := newService(t, dhttest.Host(t), quick())
	b := newService(t, dhttest.Host(t))
	dhttest.Connect(t, b.host, a.host)
	eventually(t, knows(a, b.host), "admitted")
	for range routing.MaxFailures {
		a.Routing().Table().Failed(b.Routing().Self(), time.Now())
	}
	eventually(t, func() bool { return confirms(a, b.Routing().Self()) }, "taken back")
}
