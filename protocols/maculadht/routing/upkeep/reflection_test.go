package upkeep

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/dials"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

const (
	bytesPerDial   = 12_800 // that libp2p's QUIC sends somebody who is silent: 10 packets
	bytesOfAPeer   = 4_950  // of one that connects, says CONNECT and leaves
	attackers      = 20
	victimsPerPeer = addressing.MaxContactAddrs
)

var victim = netip.MustParseAddr("7.7.7.7")

// dialled is a network that dials who is not there, as libp2p does: at all addresses
// that it has ever been told of a peer, and as often as the limit of dials lets it.
type dialled struct {
	*dials.Limiter
	there map[routing.ID]func(wire.Message) wire.Message // who answers

	mu     sync.Mutex
	told   map[peer.ID][]ma.Multiaddr
	victim int // dials
}

// tell notes that a peer said that it is at some addresses.
func (d *dialled) tell(p peer.ID, addrs []ma.Multiaddr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told[p] = append(d.told[p], addrs...)
}

func (d *dialled) Send(context.Context, routing.Contact, wire.Message) error { return nil }

func (d *dialled) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	if answer := d.there[to.ID]; answer != nil {
		time.Sleep(20 * time.Millisecond)
		return answer(m), nil
	}
	d.tell(to.Peer, to.Addrs)
	var begun []netip.AddrPort
	d.mu.Lock()
	addrs := map[netip.AddrPort]bool{}
	for _, a := range d.told[to.Peer] {
		at := addressing.AddrPortOf(a)
		if !addrs[at] && d.Begin(at) == nil {
			begun = append(begun, at)
			if at.Addr() == victim {
				d.victim++
			}
		}
		addrs[at] = true
	}
	d.mu.Unlock()
	if len(begun) > 0 {
		<-ctx.Done()
	}
	for _, at := range begun {
		d.End(at, dials.Silent)
	}
	return nil, proto.ErrUnreachable
}

// node is one with upkeep on such a network.
func (d *dialled) node(t *testing.T, self routing.ID) (*routing.Server, *lookup.Lookups, *Upkeep) {
	server, err := routing.NewServer(self)
	require.NoError(t, err)
	l, err := lookup.New(server, d)
	require.NoError(t, err)
	u, err := New(l)
	require.NoError(t, err)
	return server, l, u
}

func atAddr(ip string, port int) ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", ip, port))
}

// Twenty peers connect, name addresses of somebody else as their own, and leave. Within an
// hour that one gets at most three bytes from this node and from ten that it tells, for
// each byte of theirs.
func TestVictimOfPeersThatLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := &dialled{Limiter: dials.New(), told: map[peer.ID][]ma.Multiaddr{}, there: map[routing.ID]func(wire.Message) wire.Message{}}
		server, _, u := own.node(t, routing.ID{1})
		defer server.Close()
		defer u.Close()
		for i := range 8 { // who is heard, so that others are blamed
			c := routingtest.Peer(1000 + i)
			c.SeenIP, c.LastSeen = netip.MustParseAddr(fmt.Sprintf("9.9.%d.9", i)), time.Now()
			own.there[c.ID] = func(m wire.Message) wire.Message {
				if m.Type() == wire.TypePing {
					return &wire.Pong{}
				}
				return &wire.FindNodeReply{}
			}
			require.NoError(t, server.Admit(c))
		}
		for i := range attackers {
			c := routingtest.Peer(i)
			c.SeenIP, c.LastSeen = netip.MustParseAddr(fmt.Sprintf("6.6.%d.6", i)), time.Now()
			for port := range victimsPerPeer {
				c.Addrs = append(c.Addrs, atAddr(victim.String(), 1+i*victimsPerPeer+port))
			}
			own.tell(c.Peer, c.Addrs) // identify told
			require.NoError(t, server.Admit(c))
		}
		told := 0
		hearers := make([]*dialled, 10)
		for i := range hearers { // each looks something up while they are there
			hearer := &dialled{Limiter: dials.New(), told: map[peer.ID][]ma.Multiaddr{}, there: map[routing.ID]func(wire.Message) wire.Message{}}
			hearers[i] = hearer
			hearer.there[server.Self()] = func(m wire.Message) wire.Message {
				reply := &wire.FindNodeReply{}
				if find, isFind := m.(*wire.FindNode); isFind {
					for _, c := range server.FindNode(find.Target) {
						for _, a := range c.Addrs {
							if addressing.IPOf(a) == victim {
								told++
							}
						}
						reply.Nodes = append(reply.Nodes, wire.Node{ID: c.NodeID, Addrs: addressing.EncodePeerAddrs(c.Peer, c.Addrs)})
					}
				}
				return reply
			}
			s, l, up := hearer.node(t, routing.ID{2, byte(i)})
			defer s.Close()
			defer up.Close()
			self := server.Self()
			require.NoError(t, s.Admit(routing.Contact{ID: self, NodeID: self[:], Peer: "n", Verified: true, LastSeen: time.Now()}))
			target := routing.ID{byte(i)}
			_, _ = l.Nodes(t.Context(), target[:])
		}
		for i := range attackers {
			server.Table().Doubt(routingtest.Peer(i).ID, time.Now())
		}
		time.Sleep(time.Hour)
		all := own.victim
		for _, h := range hearers {
			all += h.victim
		}
		ratio := float64(all*bytesPerDial) / (attackers * bytesOfAPeer)
		t.Logf("the victim was dialled %d times by the node, %d by all: %.2f bytes for each of theirs; named %d times", own.victim, all, ratio, told)
		require.Positive(t, own.victim, "its own address book knows no better")
		require.LessOrEqual(t, ratio, 3.)
	})
}

// Lists that name somebody's address under a thousand peer ids have it dialled a few times,
// and then now and again.
func TestVictimOfLists(t *testing.T) {
	for name, tt := range map[string]struct {
		port func(i int) int
		most int // dials within an hour
	}{
		"at one port":    {func(int) int { return 1 }, 8},
		"at a port each": {func(i int) int { return 1 + i%60_000 }, dials.PerIP + int(time.Hour/dials.IPPause)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				own := &dialled{Limiter: dials.New(), told: map[peer.ID][]ma.Multiaddr{}}
				server, l, u := own.node(t, routing.ID{1})
				defer server.Close()
				defer u.Close()
				liar := routingtest.Peer(1_000_000)
				liar.LastSeen = time.Now()
				named := 0
				own.there = map[routing.ID]func(wire.Message) wire.Message{liar.ID: func(m wire.Message) wire.Message {
					if m.Type() == wire.TypePing {
						return &wire.Pong{}
					}
					reply := &wire.FindNodeReply{}
					for range routing.BucketSize {
						c := routingtest.Peer(named % 1000)
						reply.Nodes = append(reply.Nodes, wire.Node{ID: c.NodeID, Addrs: addressing.EncodePeerAddrs(c.Peer, []ma.Multiaddr{atAddr(victim.String(), tt.port(named))})})
						named++
					}
					return reply
				}}
				require.NoError(t, server.Admit(liar))
				for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(10 * time.Second) {
					target := server.Table().RandomID(0)
					_, _ = l.Nodes(t.Context(), target[:])
				}
				t.Logf("named %d times, dialled %d times", named, own.victim)
				require.Greater(t, named, 1000)
				require.LessOrEqual(t, own.victim, tt.most)
				require.Positive(t, own.victim)
			})
		})
	}
}
