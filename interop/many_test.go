package interop

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/node/credentials"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var restartRecords = flag.Int("restart.records", 20_000, "how many records TestRestartWithManyRecords has")

// stopsWithin is how long the program may take to stop.
const stopsWithin = 5 * time.Second

// TestRestartWithManyRecords starts the program on a data directory with many records,
// after it was stopped and after it was killed, and asks it at once.
//
//	go test ./interop -run TestRestartWithManyRecords -restart.records 100000 -v
func TestRestartWithManyRecords(t *testing.T) {
	dir := t.TempDir()
	fillStore(t, dir, *restartRecords)
	peers := newPeer(t)
	first := startOn(t, dir)
	id := storeID(t, peers, first)
	requireSome(t, peers, first)

	begun := time.Now()
	first.stop()
	stopped := time.Since(begun)
	require.Less(t, stopped, stopsWithin)
	second := startOn(t, dir)
	require.Equal(t, id, storeID(t, peers, second), "it is the same store")
	requireSome(t, peers, second)

	second.Kill()
	peers = newPeer(t) // the other one takes its connection for alive
	third := startOn(t, dir)
	require.Equal(t, id, storeID(t, peers, third))
	requireSome(t, peers, third)

	t.Logf("%d records: serving %v after the first start, %v after a stop, %v after a kill; stopped in %v",
		*restartRecords, round(first.up), round(second.up), round(third.up), round(stopped))
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// startOn starts the program, which must serve soon.
func startOn(t *testing.T, dir string) *process {
	t.Helper()
	p := startProcessOf(t, dir, 0, "--realm", testRealm, "--log-level", "error")
	requireUpSoon(t, p)
	return p
}

// upWithin is how long the program may take to serve again.
const upWithin = 2 * time.Second

// requireUpSoon checks that a program came up in time. Where others keep the machine
// busy, that is the time which it had of a processor.
func requireUpSoon(t *testing.T, p *process) {
	t.Helper()
	if p.up > upWithin {
		worked, ok := processorTime(p.PID)
		require.True(t, ok && worked < upWithin, "it served after %v, and worked for %v", p.up, worked)
		t.Logf("the machine is busy: it served after %v, of which it worked for %v", round(p.up), round(worked))
	}
}

// processorTime is what a process has had of the processors, where the system tells.
func processorTime(pid int) (time.Duration, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if err != nil || len(fields) < 13 {
		return 0, false
	}
	user, userErr := strconv.Atoi(fields[11])
	system, systemErr := strconv.Atoi(fields[12])
	const tick = 10 * time.Millisecond // Linux tells hundredths of a second everywhere
	return time.Duration(user+system) * tick, errors.Join(userErr, systemErr) == nil
}

// fillStore has a data directory hold n records.
func fillStore(t *testing.T, dir string, n int) {
	t.Helper()
	key, err := credentials.LoadOrCreateKey(dir)
	require.NoError(t, err)
	p, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	self := routing.IDFromPeer(p)
	store, err := pebble.Open(filepath.Join(dir, backup.StoreDir), pebble.Owner{Realm: testRealm, NodeID: self[:]})
	require.NoError(t, err)
	kept, err := records.New(records.WithStore(store))
	require.NoError(t, err)
	var all sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		provider := []byte(nodeIDNo(i))
		value := wire.RawMap(
			wire.Pair{Key: "node_id", Value: wire.RawBytes(provider)},
			wire.Pair{Key: "endpoint", Value: wire.RawText("https://127.0.0.1:1")},
			wire.Pair{Key: "fill", Value: wire.RawBytes(make([]byte, 100))},
		)
		all.Add(1)
		kept.StoreThen(t.Context(), records.Put{Key: []byte(manyKey(i)), Value: value, NodeID: provider, TTL: time.Hour}, func(err error) {
			errs <- err
			all.Done()
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, kept.Close())
}

func manyKey(i int) bin { return bin(fmt.Sprintf("key %d of many", i)) }

// storeID is by what name the program's store goes.
func storeID(t *testing.T, h host.Host, p *process) any {
	t.Helper()
	pong := talkPeer(t, h, connect(t, h, p.Addrs[0])).ask(tConnect, doc{"version": bin("1.0"), "node_id": nodeIDOf(h.ID()),
		"realm_id": bin(testRealm), "endpoint": bin(""), "capabilities": []any{bin("dht")}})
	require.NotEmpty(t, pong.Fields["store_id"])
	return pong.Fields["store_id"]
}

// requireSome checks that some of the records are there, from the first to the last.
func requireSome(t *testing.T, h host.Host, p *process) {
	t.Helper()
	const some = 100
	k := talkPeer(t, h, connect(t, h, p.Addrs[0]))
	for i := range some {
		at := i * (*restartRecords - 1) / (some - 1)
		found := foundIn(k.ask(tFindValue, doc{"key": manyKey(at)}))
		require.Len(t, found, 1, "record %d", at)
		require.Equal(t, nodeIDNo(at), found[0]["node_id"])
	}
}
