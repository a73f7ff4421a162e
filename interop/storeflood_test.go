package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/macula-mesh/macula-node/compat/dialer"
	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var (
	storeFloodTime    = flag.Duration("storeflood.time", 80*time.Millisecond, "how long TestStoreFlood floods with each size of values, and as long beside it")
	storeFloodSources = flag.String("storeflood.sources", "16", "from how many sources TestStoreFlood floods, such as 1,16,50")
)

const (
	floodBudget   = 4 << 20 // of the program's records
	floodAtOnce   = 4       // puts of one source under way
	floodRate     = 800     // puts a second of all sources together,
	floodBytes    = 8 << 20 // and bytes: what two processors can carry beside the clients
	honestKeys    = 32
	floodSlowdown = 3 // how many times longer an honest operation may take, at the 99th of 100
)

// TestStoreFlood: whoever stores as much as he can keeps nobody else from storing and
// finding, be it over libp2p or as an Erlang node does. Calm is when the same flood goes to
// another process on the machine, so that only what the store does tells them apart.
//
//	go test ./interop -run TestStoreFlood -storeflood.time 3s -storeflood.sources 1,16,50 -v
func TestStoreFlood(t *testing.T) {
	long := *storeFloodTime >= time.Second
	for _, number := range strings.Split(*storeFloodSources, ",") {
		t.Run(number+" sources", func(t *testing.T) {
			var n int
			_, err := fmt.Sscan(number, &n)
			require.NoError(t, err)
			flags := []string{"--ephemeral", "--store-memory", fmt.Sprint(floodBudget)}
			victim, other := startProcess(t, flags...), startProcess(t, flags...)
			sources := make([]*flooder, n)
			for i := range sources {
				sources[i] = newFlooder(t, i, victim, other)
			}
			honest := newHonest(t, victim)
			before := residentMemory(victim.PID)
			fill(t, sources, victim.NodeID)
			for _, size := range []int{60_000, 1_000, 8} {
				calm := honest.during(t, func(ctx context.Context) { flood(ctx, sources, other.NodeID, size) })
				attacked := honest.during(t, func(ctx context.Context) { flood(ctx, sources, victim.NodeID, size) })
				honest.requireAll(t)
				t.Logf("%d B: puts and gets at the 99th of 100: calm %v of %d, attacked %v of %d", size,
					calm.p99(), len(calm.took), attacked.p99(), len(attacked.took))
				require.Empty(t, slices.Concat(calm.failed, attacked.failed), "an honest client's puts and gets")
				if long {
					require.Less(t, attacked.p99(), floodSlowdown*calm.p99())
				}
			}
			kept, refused := keptOf(sources, victim.NodeID)
			t.Logf("%d MiB for records: %.1f MiB were taken from the flood, %d values refused; %.0f MiB resident, %.0f before, %.0f more of a budget",
				floodBudget>>20, float64(kept)/(1<<20), refused, residentMemory(victim.PID), before, residentMemory(victim.PID)-before)
		})
	}
}

// flooder is one source of a flood.
type flooder struct {
	name    string
	client  *client.Client
	to      map[string]routing.Contact // by node id
	kept    map[string]*atomic.Int64   // bytes
	refused atomic.Int64
	next    atomic.Int64
}

func newFlooder(t *testing.T, i int, targets ...*process) *flooder {
	h := newPeer(t)
	c, err := client.New(h)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	f := &flooder{name: fmt.Sprintf("%s %d", t.Name(), i), client: c, to: map[string]routing.Contact{}, kept: map[string]*atomic.Int64{}}
	for _, p := range targets {
		id := connect(t, h, p.Addrs[0])
		f.to[p.NodeID] = routing.Contact{ID: routing.IDFromPeer(id), Peer: id, Addrs: h.Peerstore().Addrs(id)}
		f.kept[p.NodeID] = new(atomic.Int64)
	}
	return f
}

// flood has all store values, each under a key of its own, until ctx ends.
func flood(ctx context.Context, sources []*flooder, to string, size int) {
	pace := rate.NewLimiter(min(floodRate, rate.Limit(floodBytes/size)), floodAtOnce)
	var all sync.WaitGroup
	for _, s := range sources {
		for range floodAtOnce {
			all.Go(func() {
				for pace.Wait(ctx) == nil {
					s.put(ctx, to, size)
				}
			})
		}
	}
	all.Wait()
}

// fill has the sources store until the store is full, or they may have no more.
func fill(t *testing.T, sources []*flooder, to string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	full := func() bool {
		kept, refused := keptOf(sources, to)
		return kept > floodBudget*3/4 || len(sources) == 1 && refused > 0
	}
	var all sync.WaitGroup
	for _, s := range sources {
		all.Go(func() {
			for !full() && ctx.Err() == nil {
				s.put(ctx, to, 60_000)
			}
		})
	}
	all.Wait()
	require.True(t, full(), "the store is full")
}

// keptOf returns how many bytes were taken from some sources, and how many values of
// theirs were refused.
func keptOf(sources []*flooder, by string) (kept, refused int64) {
	for _, s := range sources {
		kept += s.kept[by].Load()
		refused += s.refused.Load()
	}
	return kept, refused
}

func (f *flooder) put(ctx context.Context, to string, size int) {
	n := f.next.Add(1)
	value := wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(fmt.Appendf(nil, "%032d", n))},
		wire.Pair{Key: "fill", Value: wire.RawBytes(make([]byte, size))},
		wire.Pair{Key: "ttl", Value: wire.RawInt(86_400)},
	)
	err := client.Put(ctx, f.client, f.to[to], procedures.StoreArgs{Key: fmt.Appendf(nil, "flood %s %d", f.name, n), Value: value})
	var remote *proto.RemoteError
	switch {
	case err == nil:
		f.kept[to].Add(int64(size))
	case errors.As(err, &remote):
		f.refused.Add(1)
	}
}

// honest is a client that stores and finds a few values, over libp2p and as an Erlang node.
type honest struct {
	sides  map[string]routing.Network
	to     map[string]routing.Contact
	stored map[string]int // the last number under each key
}

func newHonest(t *testing.T, at *process) *honest {
	h := newPeer(t)
	c, err := client.New(h)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	d, err := dialer.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	id := connect(t, h, at.Addrs[0])
	return &honest{
		sides: map[string]routing.Network{overLibP2P: c, overALPN: d},
		to: map[string]routing.Contact{
			overLibP2P: {ID: routing.IDFromPeer(id), Peer: id, Addrs: h.Peerstore().Addrs(id)},
			overALPN:   {Endpoint: at.Endpoints[0]},
		},
		stored: map[string]int{},
	}
}

// operations is what became of what an honest client did.
type operations struct {
	took   []time.Duration
	failed []string
}

func (o *operations) p99() time.Duration {
	slices.Sort(o.took)
	return o.took[len(o.took)*99/100].Round(10 * time.Microsecond)
}

// during stores and finds while something else goes on.
func (h *honest) during(t *testing.T, other func(ctx context.Context)) (o operations) {
	ctx, cancel := context.WithTimeout(t.Context(), *storeFloodTime)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); other(ctx) }()
	for n := 1; ctx.Err() == nil || n < 4; n++ {
		for side := range h.sides {
			key := fmt.Sprintf("honest, %s, %d", side, n%honestKeys)
			for what, do := range []func(context.Context, string, string, int) error{h.put, h.get} {
				began := time.Now()
				if err := do(within(t), side, key, n); err != nil {
					o.failed = append(o.failed, fmt.Sprintf("%d of %q: %v", what, key, err))
				}
				o.took = append(o.took, time.Since(began))
			}
		}
	}
	<-done
	return o
}

func (h *honest) put(ctx context.Context, side, key string, n int) error {
	value := wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes([]byte(nodeIDNo(0)))},
		wire.Pair{Key: "number", Value: wire.RawInt(int64(n))},
		wire.Pair{Key: "ttl", Value: wire.RawInt(300)},
	)
	h.stored[key] = n
	return client.Put(ctx, h.sides[side], h.to[side], procedures.StoreArgs{Key: []byte(key), Value: value})
}

func (h *honest) get(ctx context.Context, side, key string, n int) error {
	reply, err := client.FindValue(ctx, h.sides[side], h.to[side], []byte(key))
	if err != nil {
		return err
	}
	for _, v := range reply.Values {
		if number, there := v.Field("number"); there && string(number) == string(wire.RawInt(int64(n))) {
			return nil
		}
	}
	return fmt.Errorf("not among the %d found", len(reply.Values))
}

// requireAll finds all that was stored.
func (h *honest) requireAll(t *testing.T) {
	t.Helper()
	for key, n := range h.stored {
		for side := range h.sides {
			require.NoError(t, h.get(within(t), side, key, n), "%s, afterwards, %s", key, side)
		}
	}
}

// residentMemory is how many MiB of memory a process has, where the system tells.
func residentMemory(pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		var kB float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kB); err == nil {
			return kB / 1024
		}
	}
	return 0
}
