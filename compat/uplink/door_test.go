package uplink

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/internal/compattest"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// door is a macula-node's gateway, which tells which peer it is.
type door struct {
	addr     *net.UDPAddr
	connects atomic.Int64
	asked    atomic.Int64
	close    func()
}

func openDoor(tb testing.TB, address string, info procedures.PeerInfo) *door {
	tb.Helper()
	packets, err := net.ListenPacket("udp", address)
	require.NoError(tb, err)
	tr := &quic.Transport{Conn: packets}
	ln, err := tr.Listen(serverTLS(compattest.Certificate()), nil)
	require.NoError(tb, err)
	d := &door{addr: ln.Addr().(*net.UDPAddr)}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	d.close = sync.OnceFunc(func() {
		cancel()
		serving.Wait()
		tr.Close()
		packets.Close()
	})
	tb.Cleanup(d.close)
	serving.Go(func() {
		for {
			conn, err := ln.Accept(ctx)
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.CloseWithError(0, "")
				for {
					s, err := conn.AcceptStream(ctx)
					if err != nil {
						return
					}
					d.serve(s, info)
				}
			})
		}
	})
	return d
}

func (d *door) serve(s *quic.Stream, info procedures.PeerInfo) {
	f, err := framing.NewReader(s).Next()
	if err != nil {
		return
	}
	m, err := f.Decode()
	if err != nil {
		return
	}
	var reply *wire.Reply
	switch m := m.(type) {
	case *wire.Connect:
		d.connects.Add(1)
		return
	case *wire.Call:
		reply = &wire.Reply{CallID: m.CallID, Error: &wire.CallError{Code: wire.CodeBootstrapOnly}}
		if m.Procedure == wire.ProcedurePeerInfo {
			d.asked.Add(1)
			reply = &wire.Reply{CallID: m.CallID, Result: info.Raw()}
		}
	}
	if b, err := framing.AppendFrame(nil, reply); err == nil {
		s.Write(b)
	}
	s.Close()
}

// met is what the uplinks tell of peers.
type met struct {
	ctx  context.Context
	info peer.AddrInfo
}

func finding(found chan met) Option {
	return WithPeerFound(func(ctx context.Context, p peer.AddrInfo) { found <- met{ctx, p} })
}

func bin(addrs ...string) (all [][]byte) {
	for _, a := range addrs {
		all = append(all, ma.StringCast(a).Bytes())
	}
	return all
}

// A macula-node that an operator names by its endpoint is joined over libp2p, and
// not as an Erlang gateway; when one of these takes its place it is.
func TestADoorLeadsIn(t *testing.T) {
	id := test.RandPeerIDFatal(t)
	d := openDoor(t, "127.0.0.1:0", procedures.PeerInfo{PeerID: id.String(), Realm: proto.DefaultRealm,
		Addrs: append(bin("/ip4/127.0.0.1/udp/1/quic-v1/p2p/"+id.String(), "/ip4/127.0.0.7/udp/1/quic-v1", "/ip4/192.0.2.7/udp/1/quic-v1", "/ip4/0.0.0.0/udp/1/quic-v1",
			"/ip4/203.0.113.7/udp/4/quic-v1/p2p/"+test.RandPeerIDFatal(t).String()+"/p2p-circuit/p2p/"+id.String(),
			"/dns4/elsewhere.example.org/udp/1/quic-v1"), []byte("none"))})
	at := "/ip4/127.0.0.1/udp/" + strconv.Itoa(d.addr.Port) + "/quic-v1"
	found := make(chan met, 10)
	u := newUplinkedTo(t, []string{"https://" + d.addr.String()}, finding(found), atRetries(compattest.Tick, 2*compattest.Tick))
	got := compattest.Wait(t, found)
	require.Equal(t, id, got.info.ID)
	require.Equal(t, []ma.Multiaddr{ma.StringCast(at), ma.StringCast("/ip4/127.0.0.1/udp/1/quic-v1")}, got.info.Addrs)
	compattest.Eventually(t, func() bool { return u.Status()[0].State == StatePeer }, "it is told")
	require.Equal(t, id, u.Status()[0].Peer)
	require.False(t, u.Status()[0].Next.IsZero())
	compattest.Eventually(t, func() bool { return d.asked.Load() >= 2 }, "it is looked at again")
	require.Empty(t, found, "and is the same")
	require.NoError(t, got.ctx.Err())
	require.Empty(t, u.Sessions())
	require.Empty(t, u.r.Contacts(), "nor is it an Erlang contact")
	require.Zero(t, d.connects.Load())

	d.close()
	g := newGlass(t, glass.Listen(d.addr.String()))
	compattest.Eventually(t, u.has(1), "a session with what took its place")
	require.Error(t, got.ctx.Err(), "the peer is left")
	requireUnhurt(t, g)
}

// What a node says of its peer is not taken on trust.
func TestDoorsThatLeadNowhere(t *testing.T) {
	id := test.RandPeerIDFatal(t).String()
	self := ourPeer(t)
	for name, c := range map[string]struct {
		info  procedures.PeerInfo
		state State
	}{
		"no peer id":    {procedures.PeerInfo{PeerID: "nobody", Realm: proto.DefaultRealm}, StateWaiting},
		"another realm": {procedures.PeerInfo{PeerID: id, Realm: "other"}, StateOtherRealm},
		"ourselves":     {procedures.PeerInfo{PeerID: self.String(), Realm: proto.DefaultRealm}, StateSelf},
	} {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t, "127.0.0.1:0", c.info)
			found := make(chan met, 10)
			u := newUplinkedTo(t, []string{"https://" + d.addr.String()}, finding(found))
			compattest.Eventually(t, func() bool { return u.Status()[0].State == c.state }, "it is told")
			require.Empty(t, found)
			require.Zero(t, d.connects.Load())
			if c.state == StateOtherRealm {
				require.ErrorIs(t, u.Status()[0].Err, ErrOtherRealm)
				require.True(t, u.Status()[0].Proved)
			}
		})
	}
}

// An Erlang node is asked once on a connection, which does it no harm.
func TestNoDoorOfAnErlangNode(t *testing.T) {
	g := newGlass(t)
	u := newUplinked(t, []*glass.Gateway{g}, finding(nil))
	compattest.Eventually(t, u.has(1), "a session")
	pings := frameCount(g, wire.TypePing)
	compattest.Eventually(t, func() bool { return pings() >= 3 }, "signs of life")
	require.Equal(t, 1, frameCount(g, wire.TypeConnect)())
	requireUnhurt(t, g)
}

// A gateway is told of our endpoint again when that has become another one, over
// the same connection and without the end of any stream.
func TestNewEndpointIsTold(t *testing.T) {
	t.Parallel()
	for name, nudged := range map[string]bool{"after a sign of life": false, "at once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGlass(t)
			var endpoint atomic.Value
			endpoint.Store("https://127.0.0.1:1001")
			opts := []Option{}
			if nudged {
				opts = append(opts, WithIntervals(Intervals{time.Hour, time.Hour, time.Hour, time.Second, time.Hour, time.Hour}))
			}
			u := newUplinkedBy(t, func() string { return endpoint.Load().(string) }, endpointsOf(g), opts...)
			compattest.Eventually(t, u.has(1), "a session")
			for i := range 2 * mostTold {
				endpoint.Store("https://127.0.0.1:" + strconv.Itoa(1002+i))
				if nudged {
					u.Refresh()
				}
				compattest.Eventually(t, func() bool { return frameCount(g, wire.TypeConnect)() == 2+i }, "CONNECT")
				compattest.Eventually(t, u.has(1), "a session")
			}
			require.LessOrEqual(t, g.Stats().Accepted, 4)
			requireUnhurt(t, g)
		})
	}
}

// Whose word it is that a gateway serves another realm is told.
func TestWhoSaysAnotherRealm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gateway func(t *testing.T) *glass.Gateway
		proved  bool
	}{
		"its own":      {func(t *testing.T) *glass.Gateway { return newGlass(t, glass.Realm("other")) }, true},
		"a stranger's": {slandered, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUplinked(t, []*glass.Gateway{c.gateway(t)})
			compattest.Eventually(t, func() bool { return u.Status()[0].State == StateOtherRealm }, "it is told")
			require.ErrorIs(t, u.Status()[0].Err, ErrOtherRealm)
			require.Equal(t, c.proved, u.Status()[0].Proved)
		})
	}
}

// slandered is a gateway whose own entry is another's word.
func slandered(t *testing.T) *glass.Gateway {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.LocalAddr().(*net.UDPAddr)
	require.NoError(t, l.Close())
	return newGlass(t, glass.Listen(addr.String()), glass.RegisterAfter(-1),
		glass.Neighbours(procedures.Gateway{NodeID: []byte("x"), Host: "127.0.0.1", Port: int64(addr.Port), Realm: "other"}))
}
