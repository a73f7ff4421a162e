package server_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// requireClients requires who is listed, and no others.
func (r *rig) requireClients(want map[string]*memPeer) {
	r.T.Helper()
	clients := r.Mux.Clients()
	require.Equal(r.T, len(want), clients.Len())
	for id, p := range want {
		got, ok := clients.Get([]byte(id))
		require.True(r.T, ok, id)
		require.Same(r.T, p.Peer, got, id)
	}
	_, ok := clients.Get([]byte("nobody"))
	require.False(r.T, ok)
}

func TestClients(t *testing.T) {
	type listed = map[string]*memPeer
	tests := []struct {
		name string
		run  func(r *rig, a, b *memPeer)
	}{
		{"none before its CONNECT", func(r *rig, a, b *memPeer) {
			r.requireClients(nil)
			a.Connect("node")
			r.requireClients(listed{"node": a})
		}},
		{"the newest wins, and the earlier is there when it ends", func(r *rig, a, b *memPeer) {
			a.Connect("node")
			b.Connect("node")
			r.requireClients(listed{"node": b})
			b.RequireEnd()
			r.requireClients(listed{"node": a})
		}},
		{"the earlier ends first", func(r *rig, a, b *memPeer) {
			a.Connect("node")
			b.Connect("node")
			a.RequireEnd()
			r.requireClients(listed{"node": b})
		}},
		{"again under the same id makes it the newest", func(r *rig, a, b *memPeer) {
			a.Connect("node")
			b.Connect("node")
			a.Connect("node")
			r.requireClients(listed{"node": a})
			a.RequireEnd()
			r.requireClients(listed{"node": b})
		}},
		{"again under another id", func(r *rig, a, b *memPeer) {
			a.Connect("node")
			b.Connect("other")
			a.Connect("another")
			r.requireClients(listed{"another": a, "other": b})
			a.Connect("other")
			r.requireClients(listed{"other": a})
			a.RequireEnd()
			r.requireClients(listed{"other": b})
		}},
		{"one that is turned away", func(r *rig, a, b *memPeer) {
			a.Send(dhttest.Frames(r.T, &wire.Connect{NodeID: []byte("node"), RealmID: "another"}))
			require.Equal(r.T, wire.TypeDisconnect, a.Next().Type)
			r.requireClients(nil)
		}},
		{"one that is turned away later", func(r *rig, a, b *memPeer) {
			a.Connect("node")
			a.Send(dhttest.Frames(r.T, &wire.Connect{NodeID: []byte("node"), RealmID: "another"}))
			require.Equal(r.T, wire.TypeDisconnect, a.Next().Type)
			require.False(r.T, a.Peer.Connected())
			r.requireClients(nil)
			a.Connect("node")
			r.requireClients(listed{"node": a})
		}},
		{"reset", func(r *rig, a, b *memPeer) {
			a.Connect("node")
			a.Shutdown()
			require.Error(r.T, <-a.Ended)
			r.requireClients(nil)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			a, b := r.serve(server.Erlang()), r.serve(server.Erlang())
			test.run(r, a, b)
			a.Close()
			b.Close()
			require.Eventually(t, func() bool { return r.Mux.Clients().Len() == 0 }, dhttest.Patience, time.Millisecond)
		})
	}
}

// A stream that may end at any time is nobody's address.
func TestClientsStay(t *testing.T) {
	r := newRig(t)
	p := r.serve(server.LibP2P())
	p.Connect("node")
	require.True(t, p.Peer.Connected())
	r.requireClients(nil)
	p.RequireEnd()
}

func TestClientsThatCanBeSentTo(t *testing.T) {
	r := newRig(t)
	p := r.serve(server.Erlang())
	p.Connect("node")
	client, ok := r.Mux.Clients().Get([]byte("node"))
	require.True(t, ok)
	require.NoError(t, client.Push(publication(1, 100)))
	require.Equal(t, uint32(1), numberOf(p.Next()))
	p.RequireEnd()
	require.ErrorIs(t, client.Push(publication(2, 100)), proto.ErrClosed)
}
