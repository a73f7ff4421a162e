package peerhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/dials"
)

// What a dial says of an address is told by what really came back.
func TestOutcomeOfDials(t *testing.T) {
	h, other := startHost(t), startHost(t)
	stranger, err := test.RandPeerID()
	require.NoError(t, err)
	deaf, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer deaf.Close()
	silent := ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", deaf.LocalAddr().(*net.UDPAddr).Port))
	there := other.Network().ListenAddresses()[0]
	for name, tt := range map[string]struct {
		addr ma.Multiaddr
		peer peer.ID
		took time.Duration // as if it had been
		want dials.Outcome
	}{
		"whom it is for":              {there, other.ID(), 0, dials.Reached},
		"somebody else":               {there, stranger, 0, dials.Answered},
		"nobody, given up soon":       {silent, stranger, time.Second, dials.GivenUp},
		"nobody, given up after long": {silent, stranger, 5 * time.Second, dials.Silent},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if tt.addr.Equal(silent) {
				time.AfterFunc(50*time.Millisecond, cancel)
			}
			ours := h.Base.Network().(*swarm.Swarm).TransportForDialing(tt.addr).(*quicTransport)
			conn, err := ours.Transport.Dial(ctx, tt.addr, tt.peer)
			require.Equal(t, tt.want, outcome(ctx, err, tt.took), "%v", err)
			if conn != nil {
				require.NoError(t, conn.Close())
			}
		})
	}
}

// counting is a transport by which nobody is reached.
type counting struct {
	transport.Transport
	dials int
}

func (c *counting) Dial(context.Context, ma.Multiaddr, peer.ID) (transport.CapableConn, error) {
	c.dials++
	return nil, errors.New("nobody answers")
}

// Whatever peer ids an address is named under, it is dialled seldom; but for those that
// an operator named.
func TestDeadAddressIsDialledSeldom(t *testing.T) {
	bootstrap := peer.ID("b")
	var c counting
	limited := &quicTransport{&c, &Host{dials: dials.New(), bootstraps: map[peer.ID]bool{bootstrap: true}}}
	addr := ma.StringCast("/ip4/8.8.8.8/udp/9443/quic-v1")
	var err error
	for i := range 1000 {
		_, err = limited.Dial(t.Context(), addr, peer.ID(fmt.Sprint(i)))
		require.Error(t, err)
	}
	require.ErrorIs(t, err, dials.ErrDead)
	require.Equal(t, 2, c.dials)
	for range 10 {
		_, err = limited.Dial(t.Context(), addr, bootstrap)
		require.Error(t, err)
	}
	require.Equal(t, 12, c.dials)
}
