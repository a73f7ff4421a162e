package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// connect has the peer CONNECT under a node id.
func (p *memPeer) connect(nodeID string) {
	p.t.Helper()
	p.write(dhttest.Frames(p.t, &wire.Connect{NodeID: []byte(nodeID), RealmID: proto.DefaultRealm}))
	require.Equal(p.t, wire.TypePong, p.next().Type)
}

// requireClients requires who is listed, and no others.
func (r *rig) requireClients(want map[string]*memPeer) {
	r.t.Helper()
	clients := r.handlers.Clients()
	require.Equal(r.t, len(want), clients.Len())
	for id, p := range want {
		got, ok := clients.Get([]byte(id))
		require.True(r.t, ok, id)
		require.Same(r.t, p.peer, got, id)
	}
	_, ok := clients.Get([]byte("nobody"))
	require.False(r.t, ok)
}

func TestClients(t *testing.T) {
	type listed = map[string]*memPeer
	tests := []struct {
		name string
		run  func(r *rig, a, b *memPeer)
	}{
		{"none before its CONNECT", func(r *rig, a, b *memPeer) {
			r.requireClients(nil)
			a.connect("node")
			r.requireClients(listed{"node": a})
		}},
		{"the newest wins, and the earlier is there when it ends", func(r *rig, a, b *memPeer) {
			a.connect("node")
			b.connect("node")
			r.requireClients(listed{"node": b})
			b.requireEnd()
			r.requireClients(listed{"node": a})
		}},
		{"the earlier ends first", func(r *rig, a, b *memPeer) {
			a.connect("node")
			b.connect("node")
			a.requireEnd()
			r.requireClients(listed{"node": b})
		}},
		{"again under the same id makes it the newest", func(r *rig, a, b *memPeer) {
			a.connect("node")
			b.connect("node")
			a.connect("node")
			r.requireClients(listed{"node": a})
			a.requireEnd()
			r.requireClients(listed{"node": b})
		}},
		{"again under another id", func(r *rig, a, b *memPeer) {
			a.connect("node")
			b.connect("other")
			a.connect("another")
			r.requireClients(listed{"another": a, "other": b})
			a.connect("other")
			r.requireClients(listed{"other": a})
			a.requireEnd()
			r.requireClients(listed{"other": b})
		}},
		{"one that is turned away", func(r *rig, a, b *memPeer) {
			a.write(dhttest.Frames(r.t, &wire.Connect{NodeID: []byte("node"), RealmID: "another"}))
			require.Equal(r.t, wire.TypeDisconnect, a.next().Type)
			r.requireClients(nil)
		}},
		{"one that is turned away later", func(r *rig, a, b *memPeer) {
			a.connect("node")
			a.write(dhttest.Frames(r.t, &wire.Connect{NodeID: []byte("node"), RealmID: "another"}))
			require.Equal(r.t, wire.TypeDisconnect, a.next().Type)
			require.False(r.t, a.peer.Connected())
			r.requireClients(nil)
			a.connect("node")
			r.requireClients(listed{"node": a})
		}},
		{"reset", func(r *rig, a, b *memPeer) {
			a.connect("node")
			a.shutdown()
			require.Error(r.t, <-a.ended)
			r.requireClients(nil)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			a, b := r.serve(Erlang()), r.serve(Erlang())
			test.run(r, a, b)
			a.Close()
			b.Close()
			require.Eventually(t, func() bool { return r.handlers.Clients().Len() == 0 }, dhttest.Patience, time.Millisecond)
			require.Empty(t, r.handlers.Clients().byNode)
		})
	}
}

// A stream that may end at any time is nobody's address.
func TestClientsStay(t *testing.T) {
	r := newRig(t)
	p := r.serve(LibP2P())
	p.connect("node")
	require.True(t, p.peer.Connected())
	r.requireClients(nil)
	p.requireEnd()
}

func TestClientsThatCanBeSentTo(t *testing.T) {
	r := newRig(t)
	p := r.serve(Erlang())
	p.connect("node")
	client, ok := r.handlers.Clients().Get([]byte("node"))
	require.True(t, ok)
	require.NoError(t, client.Push(publication(1, 100)))
	require.Equal(t, uint32(1), numberOf(p.next()))
	p.requireEnd()
	require.ErrorIs(t, client.Push(publication(2, 100)), proto.ErrClosed)
}

// fill takes all of the account but so many bytes, and returns what gives it back.
func (r *rig) fill(left int) (giveBack func()) {
	r.t.Helper()
	held, _ := r.account.Usage()
	n := int(r.handlers.Budget().Limits().Source.Memory-held.Memory) - left
	require.NoError(r.t, r.account.ReserveMemory(n, 255))
	return func() { r.account.ReleaseMemory(n) }
}

// What is remembered of a peer is its account's to pay, until its stream ends. Without
// room a CONNECT is answered all the same.
func TestWhatIsRememberedIsPaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		admitPeer(t, r.handlers, "192.0.2.2", 9443)
		gateways := func(p *memPeer) int {
			t.Helper()
			p.write(dhttest.Frames(t, &wire.Call{Procedure: wire.ProcedureListGateways, CallID: []byte("id"), Args: wire.RawMap()}))
			m, err := p.next().Decode()
			require.NoError(t, err)
			reply := m.(*wire.Reply)
			require.Nil(t, reply.Error)
			var list wire.GatewayList
			require.NoError(t, list.Decode(reply.Result))
			return len(list)
		}
		memory := func() int64 {
			synctest.Wait()
			held, _ := r.account.Usage()
			return held.Memory
		}
		p := r.serve(Erlang())
		p.connect("node") // and its buffers are there
		before := memory()
		p.connect(strings.Repeat("n", 200))
		require.GreaterOrEqual(t, memory()-before, int64(2*200-len("node")), "its entry, and its name that is not listed to it")
		before = memory()
		require.Equal(t, 1, gateways(p))
		require.Greater(t, memory(), before)
		p.connect("node")
		r.requireClients(map[string]*memPeer{"node": p})

		giveBack := r.fill(100)
		p.connect("another")
		require.True(t, p.peer.Connected())
		r.requireClients(nil)
		giveBack()
		p.connect("another")
		r.requireClients(map[string]*memPeer{"another": p})
		p.requireEnd()
		r.requireNothingHeld()

		// What can not be remembered is not listed: it would be dialled again each time.
		p = r.serve(Erlang())
		p.write(dhttest.Frames(t, &wire.Ping{}))
		p.next()
		synctest.Wait()
		giveBack = r.fill(1 << 10)
		p.connect("node")
		require.Zero(t, gateways(p))
		giveBack()
		p.requireEnd()
		r.requireNothingHeld()
	})
}
