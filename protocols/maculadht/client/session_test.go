package client_test

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/dhttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// A session is a stream on which the CONNECT was answered, in our realm.
func TestOpenSession(t *testing.T) {
	for name, test := range map[string]struct {
		answer wire.Message
		err    error
	}{
		"answered":      {&wire.Pong{NodeID: []byte("n"), RealmID: "ours"}, nil},
		"another realm": {&wire.Pong{NodeID: []byte("n"), RealmID: "theirs"}, proto.ErrRefused},
		"turned away":   {&wire.Disconnect{Reason: wire.ReasonRealmMismatch, Message: "no"}, proto.ErrRealmMismatch},
		"no answer":     {&wire.Reply{CallID: []byte("x"), Result: wire.RawInt(1)}, proto.ErrRemote},
	} {
		t.Run(name, func(t *testing.T) {
			server, asker := dhttest.Host(t), dhttest.Host(t)
			dhttest.Script(t, server, func(_ int, s *dhttest.Scripted) {
				require.IsType(t, &wire.Connect{}, s.Next())
				s.Reply(test.answer)
				if test.err == nil {
					require.IsType(t, &wire.Ping{}, s.Next())
					s.Reply(&wire.Pong{Timestamp: wire.Some(int64(7))})
				}
			})
			c, err := client.New(asker, client.WithConnect(func(network.Conn) *wire.Connect {
				return &wire.Connect{Version: wire.ProtocolVersion, NodeID: dhttest.NodeID(asker), RealmID: "ours"}
			}))
			require.NoError(t, err)
			defer c.Close()
			s, err := c.OpenSession(dhttest.Context(t), dhttest.Contact(server))
			require.ErrorIs(t, err, test.err)
			if err != nil {
				return
			}
			_, err = s.Write(dhttest.Frames(t, &wire.Ping{}))
			require.NoError(t, err)
			f, err := s.Next()
			require.NoError(t, err)
			require.Equal(t, wire.TypePong, f.Type)
			s.Reset(proto.ResetShutdown)
			_ = s.Close() // it is reset
		})
	}
}
