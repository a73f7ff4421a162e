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
	// killSettled is how long ago a STORE was served that a kill must not lose.
	killSettled = 200 * time.Millisecond
)

// TestKilledUnderLoad kills the program, as kill -9 does, at a random moment while
// clients of both dialects store, and starts it again on its data directory: whatever
// it had acknowledged is there, each time, and so is what came by a STORE, without an
// answer, and was served more than 200 ms before.
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
	writers = append(writers, &killWriter{dialect: "libp2p", plain: true, id: nodeIDNo(2 * killWriters), acked: map[int64]int64{}},
		&killWriter{dialect: "Erlang", plain: true, id: nodeIDNo(2*killWriters + 1), acked: map[int64]int64{}})
	var slowest time.Duration
	start := func() *process {
		p := startProcessOf(t, dir, 0, "--realm", testRealm, "--log-level", "error")
		slowest = max(slowest, p.up)
		requireUpSoon(t, p)
		return p
	}
	for round := range *killTimes {
		p := start()
		requireAcknowledged(t, peers, p, writers, round)
		load, after := writers, time.Duration(rng.Int64N(int64(killWithin)))
		if round%2 == 1 { // nothing but STOREs: with other writes they are synced anyhow
			load, after = writers[2*killWriters:], killSettled+after
		}
		killUnderLoad(t, peers, p, load, after)
	}
	p := start()
	requireAcknowledged(t, peers, p, writers, *killTimes)
	p.stop()

	sum := map[string]int{}
	for _, w := range writers {
		if w.plain {
			sum["settled"] += w.total
		} else {
			sum[w.dialect] += w.total
		}
	}
	t.Logf("killed %d times, seed %d: %d stores acknowledged over libp2p and %d to Erlang nodes, %d by STORE and %v old, 0 lost; up after %v at most",
		*killTimes, seed, sum["libp2p"], sum["Erlang"], sum["settled"], killSettled, slowest.Round(time.Millisecond))
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
			if w.plain {
				w.storePlain(k, acknowledged)
			} else {
				w.store(k, acknowledged)
			}
		})
	}
	first.Wait()
	time.Sleep(after) // any moment will do
	killed := time.Now()
	p.Kill()
	for _, conn := range conns { // which would wait for a sign of life
		conn.CloseWithError(0, "")
	}
	require.NoError(t, peers.Network().ClosePeer(id))
	load.Wait()
	for _, w := range writers {
		if w.plain {
			require.NotEmpty(t, w.served, "no STORE was served over %s", w.dialect)
			w.settle(killed)
			continue
		}
		require.Positive(t, w.total, "nothing was acknowledged over %s; it said: %s", w.dialect, w.refused)
	}
}

// killWriter stores at the program, under keys of its own, ever higher numbers.
type killWriter struct {
	dialect string
	plain   bool // by STORE, without an answer
	id      bin
	sent    int64           // the highest number
	acked   map[int64]int64 // by key, the highest that was acknowledged
	total   int
	refused string // the last answer that was no acknowledgement
	served  []servedStore
}

// servedStore is a batch of STOREs that has been served by a moment.
type servedStore struct {
	first, last int64
	by          time.Time
}

func (w *killWriter) key(i int64) bin { return bin(fmt.Sprintf("key %d of %s", i, w.id)) }

func (w *killWriter) value(n int64) doc {
	return doc{"node_id": w.id, "endpoint": bin("https://127.0.0.1:1"), "n": n, "ttl": killTTL, "fill": bin(make([]byte, 100))}
}

// store stores until the stream ends, and says when something was acknowledged.
func (w *killWriter) store(k *talk, acknowledged func()) {
	for {
		first := w.sent + 1
		var batch []byte
		for range killBatch {
			w.sent++
			batch = append(batch, frame(tCall, doc{"call_id": bin(fmt.Sprint(w.sent)), "procedure": bin("_dht.store"),
				"args": doc{"key": w.key(w.sent % killKeys), "value": w.value(w.sent)}})...)
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

// storePlain is store by STORE. An answer to a question behind a batch says that it has
// been served.
func (w *killWriter) storePlain(k *talk, served func()) {
	for {
		first := w.sent + 1
		var batch []byte
		for range killBatch {
			w.sent++
			batch = append(batch, frame(tStore, doc{"key": w.key(w.sent % killKeys), "value": w.value(w.sent)})...)
		}
		k.send(append(batch, frame(tFindValue, doc{"key": w.key(w.sent % killKeys)})...))
		if _, err := k.next(); err != nil {
			return
		}
		w.served = append(w.served, servedStore{first, w.sent, time.Now()})
		served()
	}
}

// settle has those STOREs be acknowledged that were served some time before a kill.
func (w *killWriter) settle(killed time.Time) {
	for _, s := range w.served {
		if killed.Sub(s.by) < killSettled {
			break
		}
		for n := s.first; n <= s.last; n++ {
			w.acked[n%killKeys] = n
			w.total++
		}
	}
	w.served = nil
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
