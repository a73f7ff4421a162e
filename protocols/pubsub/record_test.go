package pubsub_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// dialErlangFrom is dialErlang from an address of its own.
func dialErlangFrom(t *testing.T, n *node.Node, from string) *erlang {
	t.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)})
	if err != nil {
		t.Skipf("no address %s: %v", from, err)
	}
	tr := &quic.Transport{Conn: udp}
	t.Cleanup(func() { tr.Close(); udp.Close() })
	to, err := net.ResolveUDPAddr("udp4", strings.TrimPrefix(n.Endpoint(), "https://"))
	require.NoError(t, err)
	conn, err := tr.Dial(patient(t), to, &tls.Config{NextProtos: []string{"macula"}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, nil)
	require.NoError(t, err)
	return openErlang(t, conn)
}

func subscription(topic, id, endpoint string) *wire.Store {
	return &wire.Store{Key: maculadht.TopicKey(topic), Value: wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawText(id)},
		wire.Pair{Key: "endpoint", Value: wire.RawText(endpoint)},
		wire.Pair{Key: "ttl", Value: wire.RawInt(300)})}
}

// A record that names a client subscribes it where the client has stored it itself, on
// whatever stream, and where it is renewed by others too; nobody else subscribes it.
func TestWhoseRecordSubscribes(t *testing.T) {
	n := startNode(t)
	c := newErlang(t, n, id32("c"))
	p := newErlang(t, n, id32("p"))
	stored := 0
	store := func(by *erlang, m *wire.Store) {
		t.Helper()
		by.send(m)
		by.settled()
		values, err := n.Service().Routing().Records().Values(t.Context(), m.Key)
		require.NoError(t, err)
		require.Len(t, values, 1, "%d", stored)
		stored++
	}
	peer := newStranger(t, n)
	neighbour := dialErlangFrom(t, n, "127.0.0.2")
	store(peer, subscription("by.a.peer", id32("c"), n.Endpoint()))
	store(neighbour, subscription("by.another.address", id32("c"), n.Endpoint()))
	own := dialErlang(t, n.Endpoint())
	store(own, subscription("by.itself", id32("c"), n.Endpoint()))
	store(own, subscription("by.both", id32("c"), n.Endpoint()))
	store(peer, subscription("by.both", id32("c"), n.Endpoint()))
	for i, topic := range []string{"by.a.peer", "by.another.address", "by.itself", "by.both"} {
		p.publish(topic, topic, i)
	}
	p.settled()
	require.Equal(t, "by.itself", c.published().Topic)
	require.Equal(t, "by.both", c.published().Topic)
	c.quiet()

	c.send(&wire.Unsubscribe{Topics: []string{"by.itself"}})
	c.settled()
	store(own, subscription("by.itself", id32("c"), n.Endpoint()))
	p.publish("by.itself", "renewed", 9)
	p.settled()
	c.quiet()
}
