package interop

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

var (
	killTimes = flag.Int("kill.times", 3, "how often TestKilledUnderLoad kills the program")
	killSeed  = flag.Uint64("kill.seed", 0, "what decides when TestKilledUnderLoad kills; 0 for another one each time")
)

const (
	killWriters = 3   // of each dialect
	killBatch   = 8   // requests of a writer in flight
	killKeys    = 200 // of each writer, over and over
	killTTL     = 3600
	killWithin  = 300 * time.Millisecond

	// upWithin is how long the program may take to serve again. A machine that is busy
	// with other tests too has more time.
	upWithin = 2 * time.Second
)

// TestKilledUnderLoad kills the program, as kill -9 does, at a random moment while
// clients of both dialects store, and starts it again on its data directory: whatever
// it had acknowledged is there, each time.
//
//	go test ./interop -run TestKilledUnderLoad -kill.times 100 -v
func TestKilledUnderLoad(t *testing.T) {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	peers := newPeer(t)
	var writers []*killWriter
	for i := range killWriters {
		writers = append(writers, &killWriter{dialect: "libp2p", id: nodeIDNo(i), acked: map[int64]int64{}},
			&killWriter{dialect: "Erlang", id: nodeIDNo(killWriters + i), acked: map[int64]int64{}})
	}
	var slowest time.Duration
	start := func() *process {
		begun := time.Now()
		p := startProcessOf(t, dir, 0, "--realm", testRealm, "--log-level", "error")
		up := time.Since(begun)
		slowest = max(slowest, up)
		if *killTimes > 3 {
			require.Less(t, up, upWithin, "it serves again")
		}
		return p
	}
	for round := range *killTimes {
		p := start()
		requireAcknowledged(t, peers, p, writers, round)
		killUnderLoad(t, peers, p, writers, time.Duration(rng.Int64N(int64(killWithin))))
	}
	p := start()
	requireAcknowledged(t, peers, p, writers, *killTimes)
	p.stop()

	sum := map[string]int{}
	for _, w := range writers {
		sum[w.dialect] += w.total
	}
	t.Logf("killed %d times, seed %d: %d stores acknowledged over libp2p and %d to Erlang nodes, 0 lost; up after %v at most",
		*killTimes, seed, sum["libp2p"], sum["Erlang"], slowest.Round(time.Millisecond))
}

// killUnderLoad has all writers store, and kills the program some time after each of
// them has had an acknowledgement.
func killUnderLoad(t *testing.T, peers host.Host, p *process, writers []*killWriter, after time.Duration) {
	t.Helper()
	id := connect(t, peers, p.Addrs[0])
	var load, first sync.WaitGroup
	var conns []*quic.Conn
	for _, w := range writers {
		var k *talk
		if w.dialect == "libp2p" {
			k = talkPeer(t, peers, id)
		} else {
			conn := dialRaw(t, p.udp(t))
			conns = append(conns, conn)
			k = talkRaw(t, conn)
		}
		first.Add(1)
		acknowledged := sync.OnceFunc(first.Done)
		load.Go(func() {
			defer acknowledged()
			w.store(k, acknowledged)
		})
	}
	first.Wait()
	time.Sleep(after) // any moment will do
	p.kill()
	for _, conn := range conns { // which would wait for a sign of life
		conn.CloseWithError(0, "")
	}
	require.NoError(t, peers.Network().ClosePeer(id))
	load.Wait()
	for _, w := range writers {
		require.Positive(t, w.total, "nothing was acknowledged over %s; it said: %s", w.dialect, w.refused)
	}
}

// killWriter stores at the program, under keys of its own, ever higher numbers.
type killWriter struct {
	dialect string
	id      bin
	sent    int64           // the highest number
	acked   map[int64]int64 // by key, the highest that was acknowledged
	total   int
	refused string // the last answer that was no acknowledgement
}

func (w *killWriter) key(i int64) bin { return bin(fmt.Sprintf("key %d of %s", i, w.id)) }

// store stores until the stream ends, and says when something was acknowledged.
func (w *killWriter) store(k *talk, acknowledged func()) {
	for {
		first := w.sent + 1
		var batch []byte
		for range killBatch {
			w.sent++
			value := doc{"node_id": w.id, "endpoint": bin("https://127.0.0.1:1"), "n": w.sent, "ttl": killTTL, "fill": bin(make([]byte, 100))}
			batch = append(batch, frame(tCall, doc{"call_id": bin(fmt.Sprint(w.sent)), "procedure": bin("_dht.store"),
				"args": doc{"key": w.key(w.sent % killKeys), "value": value}})...)
		}
		k.send(batch)
		for n := first; n <= w.sent; n++ {
			reply, err := k.next()
			if err != nil {
				return
			}
			result, _ := reply.Fields["result"].(obj)
			if reply.Fields["call_id"] != bin(fmt.Sprint(n)) || result["status"] != bin("ok") {
				w.refused = fmt.Sprint(reply)
				continue
			}
			w.acked[n%killKeys] = n
			w.total++
			acknowledged()
		}
	}
}

// requireAcknowledged checks that all that was ever acknowledged is there, or what was
// sent later in its place.
func requireAcknowledged(t *testing.T, peers host.Host, p *process, writers []*killWriter, kills int) {
	t.Helper()
	id := connect(t, peers, p.Addrs[0])
	k := talkPeer(t, peers, id)
	lost := 0
	for _, w := range writers {
		var batch []byte
		for i := range int64(killKeys) {
			batch = append(batch, frame(tFindValue, doc{"key": w.key(i)})...)
		}
		k.send(batch)
		for i := range int64(killKeys) {
			reply, err := k.next()
			require.NoError(t, err)
			var n int64 // 0 where there is none
			for _, v := range foundIn(reply) {
				n, _ = v["n"].(int64)
			}
			if n < w.acked[i] || n > w.sent {
				t.Errorf("after kill %d: over %s %d was acknowledged under %q, %d is there", kills, w.dialect, w.acked[i], w.key(i), n)
				lost++
			}
		}
	}
	require.Zero(t, lost, "stores that were acknowledged and lost")
}

// foundIn returns the values of a reply.
func foundIn(m message) (found []obj) {
	list, _ := m.Fields["value"].([]any)
	for _, v := range list {
		if value, ok := v.(obj); ok {
			found = append(found, value)
		}
	}
	return found
}
