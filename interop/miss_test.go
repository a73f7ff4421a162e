package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/gateway"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/framing"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht/dht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/resolver"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
)

// silent is a network in which nobody answers.
type silent struct{}

func (silent) Send(context.Context, routing.Contact, wire.Message) error { return nil }

func (silent) Query(ctx context.Context, _ routing.Contact, _ wire.Message) (wire.Message, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// An Erlang gateway that has a miss asks all nodes that it knows, one after the other,
// and crashes after 10 s. Thirty of ours, whose own lookups come to nothing, are to be
// no danger: here half as many, for half that time.
func TestAMissAtAGatewayThatKnowsManyOfUs(t *testing.T) {
	const nodes, limit = 15, glass.DefaultMissLimit / 2
	erlang := startGlass(t, glass.MissLimit(limit))
	routes, err := routing.NewServer(routing.IDFromBytes([]byte("ours")))
	require.NoError(t, err)
	defer routes.Close()
	other := newPeer(t)
	require.NoError(t, routes.Admit(routing.Contact{
		ID: routing.IDFromPeer(other.ID()), Peer: other.ID(), Addrs: other.Addrs(), Verified: true,
	}))
	lookups, err := lookup.New(routes, silent{})
	require.NoError(t, err)
	resolves, err := resolver.New(lookups)
	require.NoError(t, err)
	defer resolves.Close()
	mux, err := server.NewMux()
	require.NoError(t, err)
	handlers, err := dht.New(mux, routes, dht.WithRealm(testRealm), dht.WithResolver(resolves))
	require.NoError(t, err)
	ours, err := gateway.New(handlers)
	require.NoError(t, err)
	defer ours.Close()
	at, err := ours.ListenOn("127.0.0.1:0", certificate(t))
	require.NoError(t, err)

	conf := &tls.Config{NextProtos: []string{glass.ALPN}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	conn, err := quic.DialAddr(inTime(t), erlang.Addr().String(), conf, nil)
	require.NoError(t, err)
	defer conn.CloseWithError(0, "")
	ask := func(m wire.Message) wire.Type {
		s, err := conn.OpenStreamSync(inTime(t))
		require.NoError(t, err)
		b, err := framing.AppendFrame(nil, m)
		require.NoError(t, err)
		_, err = s.Write(b)
		require.NoError(t, err)
		require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
		f, err := framing.NewReader(s).Next()
		require.NoError(t, err)
		return f.Type
	}
	for i := range nodes { // so many have a session there
		require.Equal(t, wire.TypePong, ask(&wire.Connect{Version: "1.0", NodeID: fmt.Appendf(nil, "%032d", i), RealmID: testRealm,
			Endpoint: "https://" + at.String(), Capabilities: []string{"dht"}}))
	}
	begun := time.Now()
	require.Equal(t, wire.TypeFindValueReply, ask(&wire.FindValue{Key: []byte("nobody has this")}))
	require.GreaterOrEqual(t, time.Since(begun), nodes*resolver.DefaultLimits().GatewayWait, "all were asked")
	require.Empty(t, erlang.Broken())
}
