package interop

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
)

// TestCrowdUnderAKey: one stranger with 1,001 node ids under a service's key takes nobody's
// place there: neither that of an Erlang client's provider, which nothing proves, nor that
// of one who comes later; both are found, in the shortest answer that there is too.
func TestCrowdUnderAKey(t *testing.T) {
	p := startProcess(t, "--ephemeral")
	key := maculadht.ServiceKey("crowded")
	honest := newHonest(t, p)
	provide := func(side, name string) {
		value := wire.RawMap(
			wire.Pair{Key: "node_id", Value: wire.RawBytes([]byte(name))},
			wire.Pair{Key: "endpoint", Value: wire.RawText("https://127.0.0.1:1")},
			wire.Pair{Key: "ttl", Value: wire.RawInt(60)},
		)
		require.NoError(t, client.Put(within(t), honest.sides[side], honest.to[side], procedures.StoreArgs{Key: key, Value: value}), name)
	}
	first, later := string(nodeIDNo(1_000_001)), string(nodeIDNo(1_000_002))
	found := func(side string) (calm int) {
		reply, err := client.FindValue(within(t), honest.sides[side], honest.to[side], key)
		require.NoError(t, err)
		for _, v := range reply.Values {
			if id, _ := v.Field("node_id"); slices.ContainsFunc([]string{first, later}, func(name string) bool { return string(id) == string(wire.RawBytes([]byte(name))) }) {
				calm++
			}
		}
		return calm
	}
	provide(overALPN, first)
	require.Equal(t, 1, found(overALPN), "calm")

	attacker := newFlooder(t, 0, p)
	refused := 0
	crowd := func(from, n int) {
		for i := from; i < from+n; i++ {
			value := wire.RawMap(
				wire.Pair{Key: "node_id", Value: wire.RawBytes([]byte(nodeIDNo(i)))},
				wire.Pair{Key: "endpoint", Value: wire.RawText("https://127.0.0.1:2")},
				wire.Pair{Key: "ttl", Value: wire.RawInt(86_400)},
			)
			if client.Put(within(t), attacker.client, attacker.to[p.NodeID], procedures.StoreArgs{Key: key, Value: value}) != nil {
				refused++
			}
		}
	}
	crowd(0, 1001)
	provide(overLibP2P, later)
	crowd(1001, 100)
	const times = 100
	seen := map[string]int{}
	for range times {
		for side := range honest.sides {
			seen[side] += found(side)
		}
	}
	t.Logf("2 providers beside 1,101 of one stranger, of which %d were refused: both found in %d of %d answers over ALPN, the short ones, and in %d of %d over libp2p",
		refused, seen[overALPN]/2, times, seen[overLibP2P]/2, times)
	require.Equal(t, map[string]int{overALPN: 2 * times, overLibP2P: 2 * times}, seen)
}

// TestPoisonedGatewayKeys: whatever one source stores under the keys of gateways, and
// claims in its CONNECT, no list names whom it names, and no packet goes there.
func TestPoisonedGatewayKeys(t *testing.T) {
	const keys = 2000
	victim, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	require.NoError(t, err)
	defer victim.Close()
	host, port := "127.0.0.2", victim.LocalAddr().(*net.UDPAddr).Port

	p := startProcess(t, "--ephemeral")
	other := startProcess(t, "--ephemeral", "--bootstrap", p.Addrs[0])
	asker := newHonest(t, p)
	lists := func(side string) (named []string) {
		list, err := client.ListGateways(within(t), asker.sides[side], asker.to[side])
		require.NoError(t, err)
		for _, g := range list {
			named = append(named, fmt.Sprintf("%s:%d", g.Host, g.Port))
		}
		return named
	}
	honestAt := []string{strings.TrimPrefix(p.Endpoints[0], "https://"), strings.TrimPrefix(other.Endpoints[0], "https://")}
	for side := range asker.sides {
		require.Eventually(t, func() bool { return len(lists(side)) == len(honestAt) }, patience, tick, "calm, over %s", side)
		require.ElementsMatch(t, honestAt, lists(side))
	}

	attacker := newFlooder(t, 0, p)
	raw := talkRaw(t, dialRaw(t, p.udp(t)))
	raw.ask(tConnect, doc{"version": bin("1.0"), "node_id": nodeIDNo(7), "realm_id": bin(testRealm),
		"endpoint": bin(fmt.Sprintf("https://%s:%d", host, port)), "capabilities": []any{bin("dht")}})
	refused := 0
	for i := range keys {
		id := nodeIDNo(i)
		key := wire.GatewayPrefix + string(id)
		value := wire.RawMap(
			wire.Pair{Key: "node_id", Value: wire.RawBytes([]byte(id))}, wire.Pair{Key: "host", Value: wire.RawText(host)},
			wire.Pair{Key: "port", Value: wire.RawInt(int64(port))}, wire.Pair{Key: "realm", Value: wire.RawText(testRealm)},
		)
		if i%2 == 0 {
			raw.send(frame(tStore, doc{"key": bin(key), "value": doc{"node_id": id, "host": bin(host), "port": port, "realm": bin(testRealm)}}))
			continue
		}
		if client.Put(within(t), attacker.client, attacker.to[p.NodeID], procedures.StoreArgs{Key: []byte(key), Value: value}) != nil {
			refused++
		}
	}
	raw.ask(tPing, doc{"timestamp": 1}) // all before it has been taken
	for side := range asker.sides {
		for range 10 {
			require.ElementsMatch(t, honestAt, lists(side), "over %s", side)
		}
	}
	require.Equal(t, keys/2, refused, "all of those over libp2p")
	reply, err := client.FindValue(within(t), asker.sides[overLibP2P], asker.to[overLibP2P], []byte(wire.GatewayPrefix+string(nodeIDNo(0))))
	require.NoError(t, err)
	require.Empty(t, reply.Values, "they are handed to nobody over libp2p")
	told, err := client.FindNode(within(t), asker.sides[overLibP2P], asker.to[overLibP2P], []byte(nodeIDNo(7)))
	require.NoError(t, err)
	for _, n := range told {
		require.NotContains(t, n.Address, fmt.Sprint(port))
	}

	// A packet that was sent by now has come: it is the same machine.
	var packets int
	buffer := make([]byte, 2048)
	require.NoError(t, victim.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	for {
		if _, _, err := victim.ReadFrom(buffer); err != nil {
			break
		}
		packets++
	}
	t.Logf("%d keys poisoned, %d refused: each of 20 lists named the %d honest gateways alone; %d packets at the victim",
		keys, refused, len(honestAt), packets)
	require.Zero(t, packets)
}
