package interop

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
)

// startNodes starts nodes of ours that have joined each other, the last of them in
// client mode.
func startNodes(t *testing.T, servers, clients int) []*node.Node {
	t.Helper()
	nodes := make([]*node.Node, servers+clients)
	for i := range nodes {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		require.NoError(t, err)
		cfg := node.Config{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"}, Realm: testRealm, Mode: node.ModeServer}
		if i >= servers {
			cfg.Mode = node.ModeClient
		}
		if i > 0 {
			cfg.Bootstrap = []string{nodes[0].Addrs()[0].String()}
		}
		nodes[i], err = node.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, nodes[i].Close()) })
	}
	for i, n := range nodes {
		others := servers - 1
		if i >= servers {
			others = servers
		}
		require.Eventually(t, func() bool { return len(n.Service().Routing().Contacts()) >= others }, 2*patience, tick, "node %d knows the others", i)
	}
	return nodes
}

// erlangFinds asks a node once, as an Erlang client does.
func erlangFinds(t *testing.T, n *node.Node, key []byte) []any {
	t.Helper()
	reply := talkRaw(t, dialRaw(t, udpOf(t, n.Endpoint()))).ask(tFindValue, doc{"key": bin(string(key))})
	require.Nil(t, reply.Fields["expires_in"])
	values, _ := reply.Fields["value"].([]any)
	return values
}

// TestStoredAnywhereFoundEverywhere: what an Erlang client stores at any node, also
// one in client mode, another finds at every other one with its first question, and
// so do libp2p peers, within 2 s; and when its client does not renew it, it ends
// everywhere.
func TestStoredAnywhereFoundEverywhere(t *testing.T) {
	const servers = 8
	nodes := startNodes(t, servers, 2)
	kinds := map[string]func(k *talk, key string, value any){
		"STORE": func(k *talk, key string, value any) {
			k.send(frame(tStore, doc{"type": bin("store"), "key": bin(key), "value": value}))
			k.requireAlive()
		},
		"_dht.store": func(k *talk, key string, value any) {
			reply := k.ask(tCall, doc{"procedure": bin("_dht.store"), "call_id": bin("1"), "args": doc{"key": bin(key), "value": value}})
			require.Nil(t, reply.Fields["error"])
		},
	}
	const ttl = 5
	stored := make(map[string]time.Time)
	for by, store := range kinds {
		for at, where := range map[int]string{3: "a server", servers: "a client"} {
			t.Run(by+" at "+where, func(t *testing.T) {
				key := fmt.Sprint(by, " at ", where)
				id := fmt.Sprintf("%032d", at)
				value := doc{"node_id": bin(id), "endpoint": bin("https://127.0.0.1:1"), "ttl": ttl}
				start := time.Now()
				stored[key] = start
				store(talkRaw(t, dialRaw(t, udpOf(t, nodes[at].Endpoint()))), key, value)
				require.Eventually(t, func() bool {
					_, err := nodes[0].Service().Handlers().LookupValue(t.Context(), []byte(key))
					return err == nil
				}, 2*time.Second, tick, "a copy has come")
				for i, n := range nodes {
					require.Len(t, erlangFinds(t, n, []byte(key)), 1, "at node %d, of which the last two are clients", i)
					found, err := n.Service().FindValues(inTime(t), []byte(key))
					require.NoError(t, err)
					require.Len(t, found.Values, 1)
				}
				require.Less(t, time.Since(start), 2*time.Second)
			})
		}
	}
	for key, start := range stored {
		t.Run(key+" ends", func(t *testing.T) {
			require.Eventually(t, func() bool {
				for _, n := range nodes {
					if _, err := n.Service().Handlers().LookupValue(t.Context(), []byte(key)); err == nil {
						return false
					}
				}
				return true
			}, max(time.Until(start.Add((ttl+1)*time.Second)), time.Second), tick, "at all that had a copy")
			for i, n := range nodes {
				require.Empty(t, erlangFinds(t, n, []byte(key)), "at node %d", i)
			}
		})
	}
}

// TestGatewaysDoNotAmplify: two nodes of ours and two Erlang nodes that all know each
// other. One STORE leads to a few messages, and to no more later.
func TestGatewaysDoNotAmplify(t *testing.T) {
	often := glass.ClientTimes(50*time.Millisecond, time.Hour)
	ours := startNodes(t, 2, 0)
	theirs := []*glass.Gateway{startGlass(t, often), startGlass(t, often)}
	for _, g := range theirs {
		for _, n := range ours {
			s, err := g.Bootstrap(inTime(t), n.Endpoint())
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
		}
	}
	for _, n := range ours {
		require.Eventually(t, func() bool { return len(n.Service().Routing().Contacts()) == 3 }, patience, tick, "all are contacts")
	}
	messages := func() (n int) {
		for _, g := range theirs {
			n += g.Stats().Frames[wire.TypeStore]
		}
		for _, o := range ours {
			n += int(o.Service().Handlers().Stats().Stored)
		}
		return n
	}
	key := []byte("amplified?")
	value := doc{"node_id": bin(string(make([]byte, 32))), "endpoint": bin("https://127.0.0.1:1"), "ttl": 300}
	talkRaw(t, dialRaw(t, udpOf(t, ours[0].Endpoint()))).send(frame(tStore, doc{"type": bin("store"), "key": bin(string(key)), "value": value}))
	require.Eventually(t, func() bool {
		_, err := ours[1].Service().Handlers().LookupValue(t.Context(), key)
		return err == nil
	}, patience, tick, "it is passed on to the other of ours")
	require.Never(t, func() bool { return messages() != 2 }, time.Second, 50*time.Millisecond)
	for _, g := range theirs {
		require.Zero(t, g.Stats().Frames[wire.TypeStore], "nothing is sent to an Erlang node")
		require.Empty(t, g.Broken())
	}

	// A gateway passes what its clients store on to all that it knows: both of ours.
	require.NoError(t, theirs[0].Propagate(inTime(t), []byte("twice?"), wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(make([]byte, 32))},
		wire.Pair{Key: "endpoint", Value: wire.RawText("https://127.0.0.1:1")},
	)))
	require.Eventually(t, func() bool { return messages() >= 2+4 }, patience, tick, "each has it from the gateway and from the other")
	after := messages()
	require.LessOrEqual(t, after, 22)
	require.Never(t, func() bool { return messages() != after }, time.Second, 50*time.Millisecond)
}
