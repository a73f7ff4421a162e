package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var (
	floodMemory = flag.String("flood.memory", "16MiB", "--store-memory of the node that is flooded")
	floodTime   = flag.Duration("flood.time", time.Second, "for how long, at the least")
)

// A node that 20 addresses flood with large values stays within what its status says
// that it may have, and says that it is full.
func TestMemoryInAFlood(t *testing.T) {
	data := t.TempDir()
	p := startProcess(t, data, "--store-memory", *floodMemory)
	waitFor(t, "the banner", func() bool { return strings.Contains(p.stdout.String(), "Ctrl-C stops it.") })
	info, err := peer.AddrInfoFromString(regexp.MustCompile(`/ip4/127.0.0.1/udp/\S+`).FindString(p.stdout.String()))
	require.NoError(t, err)
	require.Equal(t, exitOK, macula(t, "put", info.Addrs[0].String()+"/p2p/"+info.ID.String(), "honest", `{"n": 1}`).code)
	to := routing.Contact{ID: routing.IDFromPeer(info.ID), Peer: info.ID, Addrs: info.Addrs}
	noise := make([]byte, 60_000) // which can not be compressed
	_, err = rand.Read(noise)
	require.NoError(t, err)

	var all sync.WaitGroup
	var stored, refused atomic.Int64
	flooded := make(chan struct{})
	most := int64(0)
	for i := range 20 {
		h, err := libp2p.New(libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/127.0.%d.1/udp/0/quic-v1", i+1)),
			libp2p.Transport(libp2pquic.NewTransport), libp2p.DisableMetrics(), libp2p.DisableRelay())
		require.NoError(t, err)
		defer h.Close()
		c, err := client.New(h)
		require.NoError(t, err)
		defer c.Close()
		for w := range 4 {
			all.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-flooded:
						return
					default:
					}

					value := wire.RawMap(wire.Pair{Key: "noise", Value: wire.RawBytes(noise)}, wire.Pair{Key: "n", Value: wire.RawInt(int64(n))})
					if client.Put(t.Context(), c, to, procedures.StoreArgs{Key: fmt.Appendf(nil, "%d of %d of %d", n, w, i), Value: value}) == nil {
						stored.Add(1)
					} else {
						refused.Add(1)
					}
				}
			})
		}
	}
	var status output
	for begun := time.Now(); time.Since(begun) < *floodTime || status.code == exitOK; {
		require.Less(t, time.Since(begun), *floodTime+patience, "it is not full: %s", status.stdout)
		most = max(most, resident(t, p.Process.Pid))
		status = macula(t, "status", "--data-dir", data, "--json")
	}
	close(flooded)
	all.Wait()
	require.Equal(t, exitNotFound, status.code, status.stderr)
	require.Contains(t, status.stderr, "the records have all of the memory that they may")
	require.Contains(t, status.stderr, "--store-memory")
	require.Equal(t, exitOK, macula(t, "get", "--data-dir", data, "honest").code, "who has little keeps it")
	memory := decodeJSON(t, status.stdout)["memory"].(object)
	limit := memory["limit"].(float64)
	require.Greater(t, limit, memory["records"].(float64)+memory["buffers"].(float64))
	require.Less(t, float64(most), raceMemory*1.2*limit)
	t.Logf("stored %d, refused %d: of %.0f MiB %d MiB resident at most, %d MiB in the end", stored.Load(), refused.Load(), limit/(1<<20), most>>20, resident(t, p.Process.Pid)>>20)
}

// resident is how many bytes of memory a process has.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	kilobytes, err := strconv.ParseInt(regexp.MustCompile(`VmRSS:\s+([0-9]+) kB`).FindStringSubmatch(string(text))[1], 10, 64)
	require.NoError(t, err)
	return kilobytes << 10
}
