package rpc_test

import (
	"crypto/rand"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/addressing"
)

// storeOffer has a stranger store a record by which a peer serves a procedure.
func storeOffer(t *testing.T, at *node.Node, procedure string, id []byte, endpoint string, of peer.ID, addrs []ma.Multiaddr, ttl time.Duration) {
	t.Helper()
	offer, err := provider.Offer{Name: procedure, Endpoint: endpoint, TTL: ttl}.Check()
	require.NoError(t, err)
	value := offer.Record(id, addressing.EncodePeerAddrs(of, addrs))
	e := dial(t, at, "127.0.0.1")
	e.send(&wire.Store{Key: maculadht.ServiceKey(procedure), Value: value})
	require.Eventually(t, func() bool {
		all, _ := at.Service().Routing().Records().Values(t.Context(), maculadht.ServiceKey(procedure))
		for _, r := range all {
			if string(r.NodeID) == string(id) {
				return true
			}
		}
		return false
	}, patience, tick, "it is stored")
}

// A record that a stranger has stored takes a procedure from nobody: who it names says that
// it does not serve it, and the next one is asked.
func TestAStrangersRecordTakesNoCalls(t *testing.T) {
	t.Parallel()
	left, right := startNodes(t)
	third := startNode(t, left.Addrs()[0].String())
	knows(t, left, third.Host())

	const procedure = "honest.procedure"
	const id = "c0000000000000000000000000000001"
	client := dial(t, right, "127.0.0.1")
	client.send(&wire.Connect{Version: wire.ProtocolVersion, NodeID: []byte(id), RealmID: realm, Capabilities: []string{"rpc"}})
	require.Equal(t, wire.TypePong, client.next().Type)
	go func() { // which has registered nothing, so that no record is proved
		for {
			f, err := client.in.Next()
			if err != nil {
				return
			}
			if m, err := f.Decode(); err == nil {
				if asked, is := m.(*wire.RPCRequest); is {
					b, _ := framing.AppendFrame(nil, &wire.RPCReply{Kind: wire.TextRPCReply, RequestID: asked.RequestID,
						FromNode: []byte(id), ToNode: asked.FromNode, Result: wire.RawText(`"served"`)})
					client.write(b)
				}
			}
		}
	}()
	storeOffer(t, left, procedure, []byte(id), right.Endpoint(), "", nil, time.Minute)
	named := third.ID()
	storeOffer(t, left, procedure, named[:], "", third.Host().ID(), third.Host().Addrs(), time.Hour)
	raw, err := left.Calls().Call(within(t), procedure, nil)
	require.NoError(t, err)
	require.Equal(t, "served", text(raw))
	require.Equal(t, uint64(2), left.Calls().Stats().PassedOn, "the one with the longer life was asked first")
}

// Where nobody of those whom records name serves a procedure the caller is told so.
func TestNobodyOfThoseNamedServes(t *testing.T) {
	t.Parallel()
	left, right := startNodes(t)
	id := right.ID()
	storeOffer(t, left, "nobody.serves", id[:], "", right.Host().ID(), right.Host().Addrs(), time.Hour)
	storeOffer(t, left, "nobody.serves", []byte("c0000000000000000000000000000002"), right.Endpoint(), "", nil, time.Minute)
	_, err := left.Calls().Call(within(t), "nobody.serves", nil)
	require.Error(t, err)
	require.Equal(t, uint64(2), left.Calls().Stats().PassedOn, "both were asked")
}

// Addresses that a stranger has written are not dialled for a call.
func TestAStrangersAddressesAreNotDialled(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	victim, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer victim.Close()
	_, public, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	someone, err := peer.IDFromPublicKey(public)
	require.NoError(t, err)
	at, err := ma.NewMultiaddr("/ip4/127.0.0.1/udp/" + victim.LocalAddr().String()[len("127.0.0.1:"):] + "/quic-v1")
	require.NoError(t, err)
	id := routing.IDFromPeer(someone)
	storeOffer(t, n, "somewhere", id[:], "", someone, []ma.Multiaddr{at}, time.Hour)
	_, err = n.Calls().Call(within(t), "somewhere", nil)
	require.Error(t, err)
	require.NoError(t, victim.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, _, err = victim.ReadFromUDP(make([]byte, 2000))
	require.ErrorContains(t, err, "timeout", "nothing came")
}
