package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// TestOverload has the row "overloaded". A peer that has used its budget up is
// told so, and no other peer notices. The program's budget is more than a test
// can use up, so this is a node of the same parts with a small one.
func TestOverload(t *testing.T) {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableRelay(), libp2p.DisableMetrics())
	require.NoError(t, err)
	defer h.Close()
	const budget = 8 // frames, and none comes back in the time of a test
	limits := maculadht.DefaultLimits()
	limits.Accounts.Source.FrameRate, limits.Accounts.Source.FrameBurst = rate.Every(time.Hour), budget
	service, err := maculadht.New(h, maculadht.WithRealm(testRealm), maculadht.WithLimits(limits))
	require.NoError(t, err)
	defer service.Close()
	g, err := gateway.New(service.Handlers())
	require.NoError(t, err)
	defer g.Close()
	at, err := g.ListenOn("127.0.0.1:0", certificate(t))
	require.NoError(t, err)

	info := h.Addrs()[0].String() + "/p2p/" + h.ID().String()
	greedy := newPeer(t)
	connect(t, greedy, info)
	fromIP := func(ip string) func(t *testing.T) *talk {
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip)})
		require.NoError(t, err)
		transport := &quic.Transport{Conn: socket}
		t.Cleanup(func() { transport.Close(); socket.Close() })
		conf := &tls.Config{NextProtos: []string{alpn}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
		conn, err := transport.Dial(within(t), net.UDPAddrFromAddrPort(at), conf, nil)
		require.NoError(t, err)
		return func(t *testing.T) *talk { return talkRaw(t, conn) }
	}
	sides := map[string]struct{ greedy, modest func(t *testing.T) *talk }{
		overLibP2P: {
			func(t *testing.T) *talk { return talkPeer(t, greedy, h.ID()) },
			func(t *testing.T) *talk {
				modest := newPeer(t)
				return talkPeer(t, modest, connect(t, modest, info))
			},
		},
		overALPN: {fromIP("127.0.0.2"), fromIP("127.0.0.3")},
	}
	busy := obj{"type": bin("error"), "reason": bin("busy")}
	for name, s := range sides {
		t.Run(name, func(t *testing.T) {
			k := s.greedy(t)
			for range budget {
				require.Equal(t, byte(tPong), k.ask(tPing, doc{"timestamp": 1}).Type)
			}
			assert.Equal(t, message{tFindValueReply, busy}, k.ask(tFindValue, doc{"key": bin("k")}))
			assert.Equal(t, message{tFindNodeReply, busy}, k.ask(tFindNode, doc{"target": bin("t")}))
			reply := k.ask(tCall, doc{"call_id": bin("c"), "procedure": bin("_dht.list_gateways")})
			assert.Equal(t, bin("c"), reply.Fields["call_id"])
			require.Contains(t, reply.Fields, "error")
			assert.Equal(t, bin("busy"), reply.Fields["error"].(map[string]any)["code"])

			for what, b := range map[string][]byte{
				"PING":    frame(tPing, doc{"timestamp": 1}),
				"STORE":   frame(tStore, doc{"key": bin("k"), "value": doc{}}),
				"unknown": frame(tUnknown, doc{}),
			} {
				k := s.greedy(t)
				k.send(b)
				_, err := k.next()
				assert.Equal(t, "reset 7", ends(err), what)
			}
			s.modest(t).requireAlive()
		})
	}
}

// certificate returns one as Erlang nodes have it: signed by itself.
func certificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
