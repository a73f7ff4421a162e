package replication

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/compat/wire/values"
	"github.com/macula-mesh/macula-node/internal/budget"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// holders is a network whose contacts keep what they are told to keep.
type holders struct {
	mu     sync.Mutex
	busy   bool // they take nothing
	hangs  bool // they answer no CALL
	writes []write
	asked  []routing.Contact
}

// write is a _dht.store that a contact was sent.
type write struct {
	at      time.Time
	to      routing.Contact
	args    procedures.StoreArgs
	expires time.Time
}

func (h *holders) Send(_ context.Context, to routing.Contact, _ wire.Message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, to)
	return nil
}

func (h *holders) Query(ctx context.Context, to routing.Contact, m wire.Message) (wire.Message, error) {
	time.Sleep(routingtest.Delay)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, to)
	call, isCall := m.(*wire.Call)
	if !isCall {
		return &wire.FindNodeReply{}, nil
	}
	if h.hangs {
		h.mu.Unlock()
		<-ctx.Done()
		h.mu.Lock()
		return nil, ctx.Err()
	}
	if h.busy {
		return nil, &proto.RemoteError{Code: wire.CodeBusy}
	}
	var args procedures.StoreArgs
	if err := args.Decode(call.Args); err != nil {
		return nil, err
	}
	v, err := values.Parse(args.Value)
	if err != nil {
		return nil, err
	}
	life := v.TTL
	if args.ExpiresIn.Set {
		life = min(life, wire.Seconds(args.ExpiresIn.V))
	}
	h.writes = append(h.writes, write{time.Now(), to, args, time.Now().Add(life)})
	return &wire.Reply{CallID: call.CallID}, nil
}

func (h *holders) set(busy, hangs bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy, h.hangs = busy, hangs
}

// of returns the writes of a key.
func (h *holders) of(key string) (writes []write) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.writes {
		if string(w.args.Key) == key {
			writes = append(writes, w)
		}
	}
	return writes
}

// world is a node that adopts, among holders.
type world struct {
	*holders

	t       *testing.T
	server  *routing.Server
	adopter *Adopter
}

// play runs a test in a bubble, on a node that knows so many holders.
func play(t *testing.T, peers int, test func(t *testing.T, w *world), opts ...Option) {
	t.Helper()
	routingtest.Play(t, peers, func(t *testing.T, s *routingtest.Script) {
		s.Know(s.Peers...)
		w := &world{holders: &holders{}, t: t, server: s.Server}
		l, err := lookup.New(s.Server, w.holders)
		require.NoError(t, err)
		w.adopter, err = NewAdopter(l, w.holders, opts...)
		require.NoError(t, err)
		defer func() {
			w.adopter.Close()
			stats := w.adopter.Stats()
			require.Zero(t, stats.Records+stats.Waiting+stats.Jobs)
			require.Empty(t, w.adopter.groups)
		}()
		test(t, w)
	})
}

// put is a value of a provider as a client of a source stores it.
func put(key, provider string, ttl time.Duration, more ...wire.Pair) records.Put {
	raw := wire.RawMap(append([]wire.Pair{
		{Key: "node_id", Value: wire.RawText(provider)},
		{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))},
	}, more...)...)
	v, err := values.Parse(raw)
	if err != nil {
		panic(err)
	}
	return records.Put{Key: []byte(key), Value: v.Raw, NodeID: v.NodeID, TTL: v.TTL, Source: budget.Source{Name: "192.0.2.1"}}
}

// stores does what the server does: it stores, and has adopted what was kept.
func (w *world) stores(p records.Put) {
	w.t.Helper()
	require.NoError(w.t, w.server.Records().Store(context.Background(), p))
	w.adopter.Adopt(p)
}

func TestWhatIsAdopted(t *testing.T) {
	ofOwner := put("k", "owner", time.Minute)
	tests := map[string]struct {
		put    records.Put
		writes int
		why    DropReason
	}{
		"a value":                     {put("k", "a", time.Minute), 20, ""},
		"one without node id":         {records.Put{Key: []byte("k"), Value: wire.RawMap(), TTL: time.Minute}, 20, ""},
		"no registration of gateways": {put(wire.GatewayPrefix+"x", "a", time.Minute), 0, DropGateway},
		"nothing that is unwanted":    {put("unwanted", "a", time.Minute), 0, DropUnwanted},
		"nor what its owner has kept": {ofOwner, 0, DropEnded},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 30, func(t *testing.T, w *world) {
				require.NoError(t, w.server.Admit(routingtest.Erlang(routing.IDFromBytes(tt.put.Key), "https://192.0.2.9:9443")))
				owned := ofOwner
				owned.From = owned.NodeID
				require.NoError(t, w.server.Records().Store(t.Context(), owned))
				w.stores(tt.put)
				time.Sleep(time.Second)
				writes := w.of(string(tt.put.Key))
				require.Len(t, writes, tt.writes)
				for _, write := range writes {
					require.Equal(t, wire.Raw(tt.put.Value), write.args.Value, "byte for byte")
				}
				for _, c := range w.asked {
					require.False(t, c.IsErlang(), "two gateways would pass on to each other what came from the other")
				}
				if tt.why != "" {
					require.Equal(t, uint64(1), w.adopter.Stats().Dropped[tt.why])
				}
			}, WithFilter(func(key []byte, _ values.Value) bool { return string(key) != "unwanted" }))
		})
	}
}

// Nobody is asked to keep what is under a key of gateways, which libp2p peers refuse
// and Erlang nodes do not survive.
func TestRegistrationsOfGatewaysStay(t *testing.T) {
	play(t, 30, func(t *testing.T, w *world) {
		key := wire.GatewayPrefix + "gw"
		require.NoError(t, w.server.Admit(routingtest.Erlang(routing.IDFromBytes([]byte(key)), "https://192.0.2.9:9443")))
		p := put(key, "gw", time.Minute)
		replicas, err := Replicate(t.Context(), w.server, w.adopter.lookups, w, Copy{Key: p.Key, Value: values.Value{Raw: p.Value, NodeID: p.NodeID, TTL: p.TTL}})
		require.ErrorIs(t, err, ErrNoReplicas)
		require.Empty(t, replicas.Failed)
		require.Empty(t, w.asked)
	})
}

// A provider that renews often has its copies made anew when they have lived half
// their life, and they never end; one that does not renew is gone when it ends.
func TestRenewals(t *testing.T) {
	const ttl = 300 * time.Second
	tests := map[string]struct {
		renewed []time.Duration // since the first
		rounds  int
	}{
		"never":                                 {nil, 1},
		"every 10 s for an hour":                {every(10*time.Second, time.Hour), 25},
		"every second":                          {every(time.Second, time.Hour), 25},
		"60 s before its end, as Erlang's are":  {every(240*time.Second, time.Hour), 16},
		"in the first half, and late":           {[]time.Duration{140 * time.Second, 400 * time.Second}, 3},
		"soon, and never again":                 {[]time.Duration{10 * time.Second}, 2},
		"again when it had ended":               {[]time.Duration{400 * time.Second}, 2},
		"twice at once, and once at its middle": {[]time.Duration{0, 150 * time.Second}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, w *world) {
				start := time.Now()
				ends := start.Add(ttl)
				w.stores(put("k", "a", ttl))
				for _, at := range tt.renewed {
					time.Sleep(time.Until(start.Add(at)))
					w.stores(put("k", "a", ttl))
					ends = time.Now().Add(ttl)
				}
				time.Sleep(time.Until(ends.Add(time.Minute)))
				writes := w.of("k")
				require.InDelta(t, tt.rounds, len(writes), 1+float64(tt.rounds)/20)
				require.False(t, len(tt.renewed) < 3 && len(writes) != tt.rounds, "%d writes", len(writes))
				last := writes[len(writes)-1].expires
				require.WithinDuration(t, ends, last, 2*time.Second, "the copies end with the record")
				for i, write := range writes[1:] {
					gap := write.at.After(writes[i].expires)
					require.Equal(t, name == "again when it had ended", gap, "the copies had ended before they were renewed")
				}
				require.Zero(t, w.adopter.Stats().Records, "it is forgotten")
			})
		})
	}
}

func every(interval, until time.Duration) (at []time.Duration) {
	for t := interval; t <= until; t += interval {
		at = append(at, t)
	}
	return at
}

func TestAChangeIsPassedOnAtOnce(t *testing.T) {
	play(t, 1, func(t *testing.T, w *world) {
		for i := range 5 {
			w.stores(put("k", "a", time.Hour, wire.Pair{Key: "n", Value: wire.RawInt(int64(i))}))
			if i == 0 || i == 4 {
				time.Sleep(time.Second)
			} else {
				time.Sleep(routingtest.Delay / 3) // while 1 is on its way
			}
		}
		writes := w.of("k")
		require.NotEmpty(t, writes)
		n, _ := writes[len(writes)-1].args.Value.Field("n")
		require.Equal(t, wire.RawInt(4), n)
		require.Len(t, writes, 3, "of the changes meanwhile the last")
		require.Equal(t, 1, w.adopter.Stats().Records)
	})
}

// What came from elsewhere in the stead of an adopted record is not passed on.
func TestWhatComesFromElsewhereIsNotPassedOn(t *testing.T) {
	play(t, 1, func(t *testing.T, w *world) {
		w.stores(put("k", "a", time.Minute))
		time.Sleep(10 * time.Second)
		w.stores(put("k", "a", time.Minute))
		other := put("k", "a", time.Minute, wire.Pair{Key: "n", Value: wire.RawInt(1)})
		other.Source = budget.Source{Name: "a libp2p peer"}
		require.NoError(t, w.server.Records().Store(t.Context(), other))
		time.Sleep(time.Hour)
		require.Len(t, w.of("k"), 1)
	})
}

// A record that nobody would take is tried again, ever less often, while it lives.
func TestWhatNobodyTookIsTriedAgain(t *testing.T) {
	play(t, 1, func(t *testing.T, w *world) {
		w.set(true, false)
		w.stores(put("k", "a", time.Hour))
		time.Sleep(10 * time.Minute)
		require.Empty(t, w.of("k"))
		require.InDelta(t, 14, w.adopter.Stats().Failed, 2)
		w.set(false, false)
		time.Sleep(time.Minute + time.Second)
		writes := w.of("k")
		require.Len(t, writes, 1)
		require.InDelta(t, (49 * time.Minute).Seconds(), float64(writes[0].args.ExpiresIn.V), 60, "its age travels")
	})
}

// Who floods is held to the rate, and keeps nobody else waiting.
func TestAFlood(t *testing.T) {
	limits := DefaultLimits()
	limits.Records, limits.RecordsPerSource = 300, 200
	play(t, 1, func(t *testing.T, w *world) {
		for i := range 5000 {
			w.stores(put(fmt.Sprint("flood ", i), "a", time.Hour))
		}
		for i := range 150 {
			p := put(fmt.Sprint("other ", i), "a", time.Hour)
			p.Source.Name = "192.0.2.2"
			w.stores(p)
		}
		quiet := put("quiet", "a", time.Hour)
		quiet.Source.Name = "192.0.2.3"
		w.stores(quiet)
		require.LessOrEqual(t, w.adopter.Stats().Records, limits.Records)
		time.Sleep(2 * time.Second)
		require.Len(t, w.of("quiet"), 1, "it waits for nobody")
		time.Sleep(time.Minute)
		stats := w.adopter.Stats()
		require.Zero(t, stats.Waiting)
		require.Positive(t, stats.Dropped[DropSource])
		require.Positive(t, stats.Dropped[DropFull])
		writes := w.holders.writes
		for i, first := range writes {
			within := 0
			for _, l := range writes[i:] {
				if l.at.Sub(first.at) < time.Second {
					within++
				}
			}
			require.LessOrEqual(t, within, limits.Burst+limits.Rate+limits.Jobs)
		}
		require.NotEmpty(t, w.of("flood 4999"), "the newest stay")
		require.Empty(t, w.of("flood 1000"))
	}, WithLimits(limits))
}

// Of a record no more is kept than its key and its provider's name, be it that its
// first value was large.
func TestWhatIsKeptOfARecord(t *testing.T) {
	play(t, 0, func(t *testing.T, w *world) {
		const n = 200
		heap := func() int64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		for i := range n {
			for _, size := range []int{60 << 10, 1} {
				w.stores(put(fmt.Sprint(i), fmt.Sprintf("%032d", i), time.Hour,
					wire.Pair{Key: "data", Value: wire.RawBytes(make([]byte, size))}))
			}
		}
		require.Equal(t, n, w.adopter.Stats().Records)
		require.Less(t, heap()-before, int64(n*8<<10))
	})
}

// recordsOf returns how many records of an IP group are adopted.
func (w *world) recordsOf(group string) int {
	w.adopter.mu.Lock()
	defer w.adopter.mu.Unlock()
	if g := w.adopter.groups[group]; g != nil {
		return g.records
	}
	return 0
}

// from is the put as another source stores it.
func from(p records.Put, name, group string) records.Put {
	p.Source = budget.Source{Name: name, Group: group}
	return p
}

// An IP group has no more than its share, and goes first, by however many addresses
// it speaks.
func TestManyAddressesOfOneGroup(t *testing.T) {
	const group = "2001:db8::/48"
	limits := DefaultLimits()
	limits.Records, limits.RecordsPerGroup, limits.RecordsPerSource = 100, 80, 50
	tests := map[string]struct {
		others int // groups of one record
		why    DropReason
	}{
		"over its share":          {0, DropGroup},
		"all others together are": {40, DropFull},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, w *world) {
				w.stores(from(put("honest 1", "a", time.Hour), "192.0.2.1", "192.0.2.0/24"))
				w.stores(from(put("honest 2", "a", time.Hour), "192.0.2.1", "192.0.2.0/24"))
				for i := range tt.others {
					w.stores(from(put(fmt.Sprint("other ", i), "a", time.Hour), fmt.Sprint("198.51.100.", i), fmt.Sprint(i, "/24")))
				}
				for i := range 300 {
					w.stores(from(put(fmt.Sprint("flood ", i), "a", time.Hour), fmt.Sprintf("2001:db8:0:%x::/64", i), group))
				}
				require.Equal(t, 2, w.recordsOf("192.0.2.0/24"))
				for i := range tt.others {
					require.Equal(t, 1, w.recordsOf(fmt.Sprint(i, "/24")))
				}
				require.Equal(t, min(limits.RecordsPerGroup, limits.Records-2-tt.others), w.recordsOf(group))
				require.Positive(t, w.adopter.Stats().Dropped[tt.why])
			}, WithLimits(limits))
		})
	}
}

// Its addresses have no more turns than the one of somebody else, and not all jobs.
func TestTurnsOfOneGroup(t *testing.T) {
	limits := DefaultLimits()
	limits.Rate, limits.Burst = 10, 1
	play(t, 1, func(t *testing.T, w *world) {
		for i := range 300 {
			w.stores(from(put(fmt.Sprint("flood ", i), "a", time.Hour), fmt.Sprintf("2001:db8:0:%x::/64", i), "2001:db8::/48"))
		}
		for i := range 10 {
			w.stores(from(put(fmt.Sprint("honest ", i), "a", time.Hour), "192.0.2.1", "192.0.2.0/24"))
		}
		time.Sleep(time.Second)
		require.LessOrEqual(t, w.adopter.Stats().Jobs, limits.JobsPerGroup+limits.JobsPerSource)
		time.Sleep(4 * time.Second)
		for i := range 10 {
			require.NotEmpty(t, w.of(fmt.Sprint("honest ", i)))
		}
	}, WithLimits(limits))
}

// A record is of the share of who renews it, not of a stranger's who stored it first.
func TestARecordIsWhoseRenewsIt(t *testing.T) {
	limits := DefaultLimits()
	limits.RecordsPerSource = 10
	for name, busy := range map[string]bool{"at rest": false, "under way": true} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, func(t *testing.T, w *world) {
				w.set(false, busy)
				w.stores(from(put("k", "a", time.Hour), "stranger", ""))
				time.Sleep(time.Second)
				w.stores(from(put("k", "a", time.Hour), "honest", ""))
				w.set(false, false)
				for i := range 20 {
					w.stores(from(put(fmt.Sprint("flood ", i), "a", time.Hour), "stranger", ""))
				}
				require.Equal(t, 1, w.recordsOf("honest"))
				require.Equal(t, limits.RecordsPerSource, w.recordsOf("stranger"))
				time.Sleep(time.Minute)
				require.Zero(t, w.adopter.Stats().Jobs)
			}, WithLimits(limits))
		})
	}
	t.Run("in line", func(t *testing.T) {
		play(t, 1, func(t *testing.T, w *world) {
			for i := range 50 {
				w.stores(from(put(fmt.Sprint(i), "a", time.Hour), "stranger", ""))
			}
			w.stores(from(put("49", "a", time.Hour), "honest", ""))
			require.Equal(t, 50, w.adopter.Stats().Waiting+w.adopter.Stats().Jobs)
			time.Sleep(time.Minute)
			require.NotEmpty(t, w.of("49"))
			require.Zero(t, w.adopter.Stats().Waiting)
		})
	})
}

func TestJobsThatHang(t *testing.T) {
	limits := DefaultLimits()
	play(t, 1, func(t *testing.T, w *world) {
		w.set(false, true)
		for i := range 1000 {
			w.stores(put(fmt.Sprint(i), "a", time.Hour))
		}
		time.Sleep(time.Second)
		require.Equal(t, limits.JobsPerSource, w.adopter.Stats().Jobs)
		other := put("other", "a", time.Hour)
		other.Source.Name = "192.0.2.2"
		w.stores(other)
		time.Sleep(time.Second)
		require.Equal(t, limits.JobsPerSource+1, w.adopter.Stats().Jobs, "another source has jobs of its own")
		w.adopter.Close()
		w.stores(put("closed", "a", time.Hour))
		require.Zero(t, w.adopter.Stats().Records)
	})
}

// Two nodes that are each other's neighbours have the same record from one client:
// each tells the other once, and then there is silence.
func TestTwoAdoptersDoNotAmplify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := routingtest.NewSim(t, 2, routingtest.Rand(1))
		defer sim.Close()
		var networks []*routingtest.SimNetwork
		var adopters []*Adopter
		for _, n := range sim.Live {
			network := sim.Network(n)
			l, err := lookup.New(n.Server, network)
			require.NoError(t, err)
			a, err := NewAdopter(l, network)
			require.NoError(t, err)
			defer a.Close()
			networks, adopters = append(networks, network), append(adopters, a)
		}
		p := put("k", "a", time.Hour)
		for i, a := range adopters {
			require.NoError(t, sim.Live[i].Server.Records().Store(t.Context(), p))
			a.Adopt(p)
		}
		sent := func() int64 { return networks[0].Sent.Load() + networks[1].Sent.Load() }
		time.Sleep(time.Second)
		require.EqualValues(t, 4, sent(), "a question and a record from each")
		time.Sleep(10 * time.Minute)
		require.EqualValues(t, 4, sent())
	})
}

func TestOptions(t *testing.T) {
	bad := DefaultLimits()
	bad.Jobs = 0
	for name, opt := range map[string]Option{
		"nil": nil, "limits": WithLimits(bad), "no limits": WithLimits(Limits{}), "filter": WithFilter(nil), "tracer": WithMetricsTracer(nil),
	} {
		_, err := NewAdopter(nil, nil, opt)
		require.Error(t, err, name)
	}
}
