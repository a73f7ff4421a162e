package interop

import (
	"crypto/rand"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"

	"github.com/macula-mesh/macula-node/internal/virtualtest"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
)

// oneWay is how long a packet takes between two hosts of a world.
const oneWay = 10 * time.Millisecond

// world is a simulated network in virtual time: nodes of ours, whole but for the
// UDP sockets, and doubles of Erlang nodes with the reference's own times.
type world struct{ *virtualtest.World }

// computing is held by who takes all that there is of a processor, in virtual time, and by
// who can not be beside that: one after the other, beside those that wait.
var computing sync.Mutex

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	computing.Lock()
	defer computing.Unlock()
	virtualtest.Run(t, oneWay, func(w *virtualtest.World) { test(&world{w}) })
}

// glass starts a double of an Erlang node.
func (w *world) glass(opts ...glass.Option) *glass.Gateway {
	w.Helper()
	g, err := glass.Start(append([]glass.Option{
		glass.Realm(testRealm),
		glass.Listen(w.NextHost()),
		glass.Network(w.Listen),
	}, opts...)...)
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, g.Close()) })
	return g
}

// node starts one of ours.
func (w *world) node(bootstrap ...string) *node.Node {
	w.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(w, err)
	at, err := netip.ParseAddrPort(w.NextHost())
	require.NoError(w, err)
	n, err := node.New(node.Config{
		Key:           key,
		Listen:        []string{"/ip4/" + at.Addr().String() + "/udp/9443/quic-v1"},
		Realm:         testRealm,
		Bootstrap:     bootstrap,
		Mode:          node.ModeServer,
		NoPortMapping: true,
		Registerer:    prometheus.NewRegistry(),
		HostOptions:   []libp2p.Option{w.simulated(at), libp2p.DisableIdentifyAddressDiscovery()},
	})
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, n.Close()) })
	return n
}

// simulated has a host use the simulated network.
func (w *world) simulated(at netip.AddrPort) libp2p.Option {
	quic := []quicreuse.Option{
		quicreuse.OverrideListenUDP(func(_ string, addr *net.UDPAddr) (net.PacketConn, error) { return w.Listen(addr.String()) }),
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return sourceIP(at.Addr().AsSlice()), nil }),
	}
	return func(cfg *libp2p.Config) error {
		for _, opt := range quic {
			cfg.QUICReuse = append(cfg.QUICReuse, fx.Supply(fx.Annotate(opt, fx.ResultTags(`group:"quicreuseopts"`))))
		}
		return nil
	}
}

// sourceIP is the one address of a host.
type sourceIP net.IP

func (ip sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IP(ip), nil
}

// eventually waits for a state in virtual time.
func (w *world) eventually(state func() bool, what string) {
	w.Helper()
	for end := time.Now().Add(5 * time.Minute); !state(); time.Sleep(100 * time.Millisecond) {
		require.True(w, time.Now().Before(end), what)
	}
}
