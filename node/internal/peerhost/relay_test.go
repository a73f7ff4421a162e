package peerhost

import (
	"context"
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/conns"
	"github.com/macula-mesh/macula-node/node/internal/hosttest"
)

// A relay makes up any number of connections: they give way as others do.
func TestRelayedConnectionsGiveWay(t *testing.T) {
	plain := func(opts ...libp2p.Option) host.Host {
		h, err := libp2p.New(append(opts, libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"), libp2p.Transport(libp2pquic.NewTransport), libp2p.EnableRelay())...)
		require.NoError(t, err)
		t.Cleanup(func() { hosttest.Close(t, h) })
		return h
	}
	between, far := plain(), plain()
	service, err := relay.New(between)
	require.NoError(t, err)
	t.Cleanup(func() { hosttest.Close(t, service) })
	h := startHost(t, func(c *Config) { c.Relay, c.Conns = true, conns.Limits{Memory: conns.MinMemory} })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	near := connect(t, h.Base, between)
	_, err = client.Reserve(ctx, h.Base, addrInfo(between))
	require.NoError(t, err)
	circuit := ma.StringCast(fmt.Sprintf("%s/p2p/%s/p2p-circuit", near.RemoteMultiaddr(), between.ID()))
	require.NoError(t, far.Connect(network.WithAllowLimitedConn(ctx, "test"), peer.AddrInfo{ID: h.ID(), Addrs: []ma.Multiaddr{circuit}}))
	there := func(p peer.ID) bool { return h.Network().Connectedness(p) != network.NotConnected }
	require.Eventually(t, func() bool { return there(far.ID()) }, patience, tick)

	for i := 0; h.Conns.Stats().GaveWay == 0 && i < 100; i++ {
		s, err := h.Base.NewStream(ctx, between.ID(), "/ipfs/ping/1.0.0") // so that it is not the idlest
		require.NoError(t, err)
		require.NoError(t, s.Reset())
		scope, err := h.Network().ResourceManager().OpenConnection(network.DirInbound, false, ma.StringCast(fmt.Sprintf("/ip4/9.9.%d.9/udp/1/quic-v1", i)))
		require.NoError(t, err)
		require.NoError(t, scope.SetPeer(peer.ID(fmt.Sprint(i))))
		defer scope.Done()
	}
	require.Eventually(t, func() bool { return !there(far.ID()) }, patience, tick)
	require.True(t, there(between.ID()), "it is no matter of its relay's connection")
}

func TestNoRelayCandidatesBeforeKad(t *testing.T) {
	early := &Host{hasKad: make(chan struct{})}
	_, more := <-early.RelayCandidates(t.Context(), 1)
	require.False(t, more, "nobody is known before kad-dht has started")
}

func TestAddressesThatKadKeeps(t *testing.T) {
	public, private := ma.StringCast("/ip4/8.8.8.8/udp/9443/quic-v1"), ma.StringCast("/ip4/10.0.0.1/udp/9443/quic-v1")
	told := []ma.Multiaddr{public, private}
	tests := map[string]struct {
		own, want []ma.Multiaddr
	}{
		"of a host at a public address":  {[]ma.Multiaddr{private, public}, []ma.Multiaddr{public}},
		"of a host in a private network": {[]ma.Multiaddr{private}, told},
		"of a host that has none":        {nil, told},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			keep := leavingOut(func() []ma.Multiaddr { return test.own })
			require.Equal(t, test.want, keep(told))
		})
	}
}
