package ask

import (
	"crypto/rand"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// TestMain fails the tests of this package if a goroutine outlives them.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// A bootstrap peer that is given by name is known by the address that it has: by a
// name it would pass for a public peer, of which no private address is taken.
func TestBootstrapPeerIsKnownWhereItWasReached(t *testing.T) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	n, err := node.New(node.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}})
	require.NoError(t, err)
	defer n.Close()
	info, err := node.ParsePeer(n.Addrs()[0].String())
	require.NoError(t, err)
	reached := info.Addrs[0]
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer silent.Close()
	info.Addrs = append(info.Addrs, ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", silent.LocalAddr().(*net.UDPAddr).Port)))

	h, client, closeBoth, err := newClient(10 * time.Second)
	require.NoError(t, err)
	defer closeBoth()
	server, err := routing.NewServer(routing.IDFromPeer(h.ID()))
	require.NoError(t, err)
	defer server.Close()
	require.NoError(t, entry{host: h, client: client, server: server, realm: n.Realm()}.enter(t.Context(), contactAt(*info)))
	require.Len(t, server.Contacts(), 1)
	require.Equal(t, []ma.Multiaddr{reached}, server.Contacts()[0].Addrs)
}
