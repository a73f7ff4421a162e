package glass_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/interop/glass"
)

// The correct way to ask each thing breaks nothing.
func TestCorrectWays(t *testing.T) {
	store := procedures.StoreArgs{Key: []byte("k"), Value: provider("n")}
	for name, m := range map[string]wire.Message{
		"PING":                 &wire.Ping{Timestamp: wire.Some(int64(1))},
		"CONNECT":              connecting("node"),
		"CONNECT, no endpoint": &wire.Connect{Version: "1.0", NodeID: []byte("n"), RealmID: realm},
		"NAT_PROBE":            &wire.NATProbe{NodeID: id16, RequestID: id16},
		"FIND_NODE":            &wire.FindNode{Target: id16},
		"FIND_VALUE":           &wire.FindValue{Key: []byte("k")},
		"_dht.list_gateways":   listGateways(),
		"the same, of text":    &wire.Call{Procedure: wire.ProcedureListGateways, Args: wire.RawText("{}"), CallID: id16},
		"_dht.store":           &wire.Call{Procedure: wire.ProcedureStore, Args: store.Raw(), CallID: id16},
		"another procedure":    &wire.Call{Procedure: "my.app", Args: wire.RawText("{}"), CallID: id16},
		"RPC_REQUEST":          &wire.RPCRequest{RequestID: id16, Procedure: "p", Args: wire.RawMap(), FromNode: id16},
		"STORE":                &wire.Store{Key: []byte("k"), Value: provider("n")},
		"DISCONNECT":           &wire.Disconnect{Reason: "normal"},
		"SUBSCRIBE":            &wire.Subscribe{Topics: []string{"t"}},
		"UNSUBSCRIBE":          &wire.Unsubscribe{Topics: []string{"t"}},
		"PUBLISH":              &wire.Publish{Topic: "t", Payload: wire.RawText("p"), MessageID: id16},
		"PONG":                 &wire.Pong{},
		"SWIM_PING":            &wire.Opaque{MessageType: wire.TypeSWIMPing},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			c := dial(t, g)
			switch m.Type() {
			case wire.TypeStore, wire.TypeDisconnect, wire.TypeSubscribe, wire.TypeUnsubscribe, wire.TypePublish, wire.TypePong, wire.TypeSWIMPing:
				c.tell(m)
			default:
				c.ask(m)
			}
			eventually(t, func() bool { return g.Stats().Frames[m.Type()] == 1 }, "it came")
			c.ask(&wire.Ping{})
			eventually(t, func() bool { return g.Stats().Streams == 0 }, "finished with")
			require.Empty(t, g.Broken())
			require.Empty(t, g.Lapses())
			require.Empty(t, g.Lost())
		})
	}
}

// More requests than streams are granted, each finished with in order.
func TestStreamCredit(t *testing.T) {
	g := start(t)
	c := dial(t, g)
	for range 2 * glass.StreamCredit {
		c.ask(&wire.Ping{})
	}
	require.Empty(t, g.Broken())
	for range glass.StreamCredit {
		c.open().ask(&wire.Ping{}) // and left as it is
	}
	_, err := c.OpenStream()
	var limit *quic.StreamLimitReachedError
	require.ErrorAs(t, err, &limit)
}

func TestItNeverClosesItsSide(t *testing.T) {
	g := start(t)
	k := dial(t, g).open()
	k.ask(&wire.Ping{})
	require.NoError(t, k.Close())
	eventually(t, func() bool { return g.Stats().Streams == 0 }, "our side is closed")
	k.SetReadDeadline(time.Now().Add(soon))
	_, err := k.next()
	require.Error(t, err)
	var timeout interface{ Timeout() bool }
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
}

func TestNoUnidirectionalStreams(t *testing.T) {
	_, err := dial(t, start(t)).OpenUniStream()
	require.Error(t, err)
}

func TestReceiveEvents(t *testing.T) {
	one := encode(t, &wire.Ping{Timestamp: wire.Some(int64(1))})
	two := encode(t, &wire.Ping{Timestamp: wire.Some(int64(2))})
	long := func(n int) []byte {
		return made(wire.TypePing, mapping("timestamp", 1, "pad", make([]byte, n)))
	}
	for name, test := range map[string]struct {
		writes [][]byte // one event each
		pongs  int
		lost   int
	}{
		"one frame":                {[][]byte{one}, 1, 0},
		"two frames in two writes": {[][]byte{one, two}, 2, 0},
		"two frames in one write":  {[][]byte{append(append([]byte{}, one...), two...)}, 1, 1},
		"junk behind a frame":      {[][]byte{append(append([]byte{}, one...), 0xde, 0xad)}, 1, 1},
		"header and payload":       {[][]byte{one[:8], one[8:]}, 0, 2},
		"cut within the payload":   {[][]byte{one[:12], one[12:]}, 0, 2},
		"cut within the header":    {[][]byte{one[:4], one[4:]}, 0, 2},
		"10 kB in one write":       {[][]byte{long(9_900)}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, glass.Events(glass.DefaultEventLimit, soon))
			k := dial(t, g).open()
			happened := func() int { s := g.Stats(); return s.Total() + s.Lost }
			for _, b := range test.writes {
				before := happened()
				k.send(b)
				eventually(t, func() bool { return happened() > before }, "it came")
			}
			for range test.pongs {
				_, err := k.next()
				require.NoError(t, err)
			}
			require.Equal(t, test.lost, g.Stats().Lost, "%v", g.Lost())
			require.Len(t, g.Lost(), test.lost)
			require.Equal(t, test.pongs, g.Stats().Replies)
			require.Empty(t, g.Broken())
		})
	}
	t.Run("cut by the end of its connection", func(t *testing.T) {
		g := start(t, glass.Events(glass.DefaultEventLimit, never))
		for range 10 {
			c := dial(t, g)
			c.open().send(long(3_000)[:2_900])
			eventually(t, func() bool { return g.Stats().Streams == 1 }, "it came")
			c.CloseWithError(0, "")
			eventually(t, func() bool { return g.Stats().Streams == 0 }, "it is gone")
		}
		require.Zero(t, g.Stats().Lost, "%v", g.Lost())
	})
	t.Run("more than an event holds", func(t *testing.T) {
		g := start(t, glass.Events(10_000, soon))
		dial(t, g).open().send(long(20_000))
		eventually(t, func() bool { return g.Stats().Lost > 0 }, "lost")
		require.Zero(t, g.Stats().Total())
	})
}

// Of those who dial at the same time all but one are refused.
func TestOneHandshake(t *testing.T) {
	g := start(t)
	letGo := g.HoldHandshakes()
	const dials = 5
	errs := make(chan error, dials)
	for range dials {
		go func() {
			conf := &tls.Config{NextProtos: []string{glass.ALPN}, InsecureSkipVerify: true}
			conn, err := quic.DialAddr(within(t), g.Addr().String(), conf, nil)
			if err == nil {
				defer conn.CloseWithError(0, "")
			}
			errs <- err
		}()
	}
	for range dials - 1 {
		var refused *quic.TransportError
		require.ErrorAs(t, <-errs, &refused)
		require.Equal(t, quic.ConnectionRefused, refused.ErrorCode)
	}
	require.True(t, g.Stats().Handshaking)
	letGo()
	require.NoError(t, <-errs)
	require.GreaterOrEqual(t, g.Stats().Refused, dials-1)
	eventually(t, func() bool { return !g.Stats().Handshaking }, "its place is free again")
	dial(t, g).ask(&wire.Ping{})

	letGo = g.OccupyHandshake()
	_, err := quic.DialAddr(within(t), g.Addr().String(), &tls.Config{NextProtos: []string{glass.ALPN}, InsecureSkipVerify: true}, nil)
	require.Error(t, err)
	letGo()
	dial(t, g).ask(&wire.Ping{})
}

// It has two ids, and registers itself under that of its certificate.
func TestRegistersItself(t *testing.T) {
	other := procedures.Gateway{NodeID: []byte("other"), Host: "192.0.2.1", Port: 9443, Realm: "another.realm"}
	listed := func(c client) (l procedures.GatewayList) {
		require.NoError(t, l.Decode(c.ask(listGateways()).(*wire.Reply).Result))
		return l
	}
	require.Equal(t, procedures.GatewayList{other}, listed(dial(t, start(t, glass.RegisterAfter(never), glass.Neighbours(other)))), "not yet")

	g := start(t, glass.RegisterAfter(soon), glass.Neighbours(other))
	c := dial(t, g)
	gateways := func() procedures.GatewayList { return listed(c) }
	eventually(t, func() bool { return len(gateways()) == 2 }, "registered")
	own := gateways()[1]

	cert := c.ConnectionState().TLS.PeerCertificates[0]
	sum := sha256.Sum256(publicKeyBits(t, cert))
	require.Equal(t, hex.EncodeToString(sum[:]), g.ClientID())
	require.Equal(t, g.ClientID(), string(own.NodeID))
	require.Equal(t, "127.0.0.1", own.Host)
	require.EqualValues(t, g.Addr().Port, own.Port)
	require.Equal(t, realm, own.Realm)
	require.InDelta(t, time.Now().Unix(), own.RegisteredAt.V, 60)
	pong := c.ask(connecting("n")).(*wire.Pong)
	require.Equal(t, g.NodeID(), pong.NodeID)
	require.Len(t, pong.NodeID, 32)
	require.Equal(t, g.Endpoint(), pong.Endpoint)
	require.Empty(t, g.Broken(), "its own entries do not crash its discovery")

	c.open().send(made(wire.TypeFindNode, mapping("type", "find_node")))
	g.WaitBroken(within(t))
	eventually(t, func() bool { return len(gateways()) == 1 }, "lost in the crash, and registered anew")
	require.Equal(t, own.NodeID, gateways()[0].NodeID)
}

// publicKeyBits are the last 65 bytes of what names a P-256 key.
func publicKeyBits(t *testing.T, cert *x509.Certificate) []byte {
	info := cert.RawSubjectPublicKeyInfo
	require.Greater(t, len(info), 65)
	require.EqualValues(t, 4, info[len(info)-65], "an uncompressed point")
	return info[len(info)-65:]
}

func TestFindNodeIsNearestFirst(t *testing.T) {
	g := start(t)
	c := dial(t, g)
	for i := range 30 {
		id := [32]byte{31: byte(i)}
		m := connecting(string(id[:]))
		c.ask(m)
	}
	reply := c.ask(&wire.FindNode{Target: make([]byte, 32)}).(*wire.FindNodeReply)
	require.Len(t, reply.Nodes, 20)
	for i, n := range reply.Nodes {
		require.EqualValues(t, i, n.ID[31])
	}
}

// Lapses are what a careful client does not do, though nothing breaks.
func TestLapses(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(k *talk)
		want string
	}{
		"FIN before the reply":        {func(k *talk) { k.Close() }, "stream 0: FIN before the reply to find_value"},
		"CancelRead before the reply": {func(k *talk) { k.CancelRead(0) }, "stream 0: STOP_SENDING before the reply to find_value"},
		"a frame before the reply":    {func(k *talk) { k.send(encode(k.tb, &wire.Ping{})) }, "a ping frame before the reply to find_value"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			letGo := g.HoldReplies(wire.TypeFindValue)
			k := dial(t, g).open()
			k.send(encode(t, &wire.FindValue{Key: []byte("k")}))
			eventually(t, func() bool { return g.Stats().Asking[wire.TypeFindValue] == 1 }, "asked")
			test.do(k)
			eventually(t, func() bool { return len(g.Lapses()) == 1 }, "noted")
			require.Equal(t, test.want, g.Lapses()[0])
			letGo()
			require.Empty(t, g.Broken())
		})
	}
}

func TestHooks(t *testing.T) {
	g := start(t)
	c := dial(t, g)
	g.ReplyWith(func(f framing.Frame) []byte {
		require.Equal(t, wire.TypePing, f.Type)
		return encode(t, &wire.Pong{Timestamp: wire.Some(int64(42))})
	})
	require.EqualValues(t, 42, c.ask(&wire.Ping{}).(*wire.Pong).Timestamp.V)
	g.ReplyWith(nil)
	require.EqualValues(t, 7, c.ask(&wire.Ping{Timestamp: wire.Some(int64(7))}).(*wire.Pong).Timestamp.V)
	require.Len(t, g.Clients(), 1)
	require.Equal(t, c.LocalAddr().(*net.UDPAddr).Port, g.Clients()[0].(*net.UDPAddr).Port)

	session := c.open()
	session.ask(connecting("guest"))
	var sent int
	eventually(t, func() bool {
		n, err := g.Push(&wire.Publish{Topic: "t"})
		require.NoError(t, err)
		sent = n
		return n > 0
	}, "it has its PONG")
	require.Equal(t, 1, sent)
	f, err := session.next()
	require.NoError(t, err)
	require.Equal(t, wire.TypePublish, f.Type)

	c.tell(&wire.Publish{Topic: "from us"})
	eventually(t, func() bool { return len(g.Notices()) == 1 }, "it came")
	require.Equal(t, "from us", g.Notices()[0].(*wire.Publish).Topic)

	g.DropClients()
	<-c.Context().Done()
	eventually(t, func() bool { return g.Stats().Open == 0 }, "none is left")
	dial(t, g).ask(&wire.Ping{})
	require.Equal(t, 2, g.Stats().Accepted)
}

// Many callers at a time, some of whom give up on their connection.
func TestLoad(t *testing.T) {
	g := start(t)
	const callers, each = 32, 60
	var streams [4]client
	for i := range streams {
		streams[i] = dial(t, g)
	}
	var failed atomic.Int32
	var workers sync.WaitGroup
	for w := range callers {
		workers.Go(func() {
			c := streams[w%len(streams)]
			for i := range each {
				s, err := c.OpenStreamSync(t.Context())
				if err != nil {
					failed.Add(1)
					return
				}
				var m wire.Message
				switch i % 4 {
				case 0:
					m = &wire.Ping{}
				case 1:
					m = &wire.Store{Key: []byte{byte(w)}, Value: provider("n")}
				case 2:
					m = &wire.FindValue{Key: []byte{byte(w)}}
				case 3:
					m = listGateways()
				}
				s.SetDeadline(time.Now().Add(patience))
				b, err := framing.AppendFrame(nil, m)
				if err == nil {
					_, err = s.Write(b)
				}
				if err == nil && m.Type() != wire.TypeStore {
					_, err = framing.NewReader(s).Next()
				}
				if err != nil {
					failed.Add(1)
				}
				s.Close()
				s.CancelRead(0)
			}
		})
	}
	workers.Wait()
	require.Zero(t, failed.Load())
	eventually(t, func() bool { return g.Stats().Total() == callers*each }, "all came")
	eventually(t, func() bool { return g.Stats().Streams == 0 }, "all are finished with")
	require.Empty(t, g.Broken())
	require.Empty(t, g.Lost())
	require.Empty(t, g.Lapses())
}
