package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/lossynet"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

var (
	long = flag.Bool("faults.long", false, "part the network for 60 s, with 200 ms each way")
	seed = flag.Uint64("faults.seed", 1, "what decides what becomes of the packets")
)

// form is how the test is run.
type form struct {
	conditions lossynet.Conditions
	partition  time.Duration
	parts      []string      // of the test in which libp2p peers store too, for which they have to join
	values     int           // that each Erlang client stores, in each part of the test
	shortTTL   time.Duration // of what expires in the partition
	within     time.Duration // what is stored is to be found by each, and all after the partition
}

func formOf() form {
	f := form{
		conditions: lossynet.Conditions{Loss: 0.1, Delay: 50 * time.Millisecond, Jitter: 10 * time.Millisecond, Late: 0.05, LateBy: 50 * time.Millisecond},
		partition:  2 * time.Second,
		parts:      []string{"during"},
		values:     2,
		shortTTL:   time.Second,
		within:     30 * time.Second,
	}
	if *long {
		f.conditions.Delay, f.partition, f.parts = 200*time.Millisecond, time.Minute, []string{"before", "during", "after"}
		f.values, f.shortTTL, f.within = 10, 20*time.Second, 2*time.Minute
	}
	return f
}

// ttl is that of what is to be found in the end, in seconds.
const ttl = 3600

// TestPartition: of five processes on a network that loses every tenth packet, takes 50 ms
// each way (-faults.long: 200) and changes the order, two are parted from three. What was
// acknowledged before, meanwhile and after by either side, to Erlang clients and to libp2p
// peers, is found from everywhere then, and what has expired nowhere.
//
//	go test ./interop/faults -run TestPartition -faults.long -v
func TestPartition(t *testing.T) {
	f := formOf()
	t.Logf("seed %d: %+v, parted for %v", *seed, f.conditions, f.partition)
	start := time.Now()
	x := &scenario{world: newWorld(t, *seed, f.conditions), form: f}
	t.Logf("%d nodes serve after %v", nodes, since(start))

	x.store("before")
	x.findAll("stored before, found before")
	expires := x.storeBriefly()
	x.part()
	parted := time.Now()
	x.store("during")
	for side := range sides {
		x.find(fmt.Sprintf("stored in the %s meanwhile, found there", sides[side]), x.nodesOf(side), x.storedBy(side, "during"))
	}
	rest(t, parted.Add(f.partition))
	x.Heal()
	healed := time.Now()
	x.findAll("stored before and during, found after")
	t.Logf("all is found %v after the partition of %v", since(healed), healed.Sub(parted).Round(time.Second))
	x.store("after")
	x.findAll("stored after too, found after")
	x.lookUp()
	for _, r := range expires {
		x.requireNowhere(r)
	}
	s := x.Stats()
	t.Logf("packets: %d sent, %.1f %% of them lost, %d overtaken, %d lost by the partition; %d to elsewhere",
		s.Sent, 100*float64(s.Lost)/float64(s.Sent), s.Overtaken, s.Parted, s.Elsewhere)
	require.Positive(t, s.Parted)
	require.InDelta(t, f.conditions.Loss, float64(s.Lost)/float64(s.Sent), 0.02)
	require.Zero(t, s.Crowded)
}

// scenario is what is stored on a network.
type scenario struct {
	*world
	form

	mu     sync.Mutex
	stored []record
}

// record is one that was acknowledged.
type record struct {
	part, name string
	side       int
	value      wire.Raw
}

func (r *record) key() []byte { return maculadht.ServiceKey(r.name) }

// is reports whether a value is the record's: of its provider, whom nothing else has.
func (r *record) is(value wire.Raw) bool {
	got, _ := value.Field("node_id")
	want, _ := r.value.Field("node_id")
	return bytes.Equal(got, want)
}

// newRecord returns one that is not stored yet, of a provider of its own.
func newRecord(part, name string, side int, life int64) record {
	return record{part, name, side, wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(maculadht.ServiceKey("the id of " + name))},
		wire.Pair{Key: "endpoint", Value: wire.RawBytes([]byte("https://127.0.0.1:1"))},
		wire.Pair{Key: "ttl", Value: wire.RawInt(life)},
	)}
}

// store has clients of both sides store: Erlang clients at each node, and a libp2p peer at
// the nearest that it reaches. All of it is acknowledged.
func (x *scenario) store(part string) {
	x.t.Helper()
	start := time.Now()
	var all sync.WaitGroup
	for _, n := range x.nodes {
		for i := range x.values {
			r := newRecord(part, fmt.Sprintf("%s.%d of %s", part, i, n.name), n.side, ttl)
			all.Go(func() { x.acknowledge(r, func(ctx context.Context) error { return x.storeAt(ctx, n, r) }) })
		}
	}
	for side, c := range x.clients {
		if !slices.Contains(x.parts, part) {
			break
		}
		r := newRecord(part, part+" by a libp2p peer in the "+sides[side], side, ttl)
		all.Go(func() { x.acknowledge(r, func(ctx context.Context) error { return x.replicate(ctx, c, r) }) })
	}
	all.Wait()
	x.t.Logf("stored %s: %d acknowledged after %v", part, len(x.storedBy(west, part))+len(x.storedBy(east, part)), since(start))
}

// acknowledge tries until a record is acknowledged, and notes it.
func (x *scenario) acknowledge(r record, store func(context.Context) error) {
	err := x.try(store)
	if err != nil {
		x.t.Errorf("%s is not stored within %v: %v", r.name, x.within, err)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stored = append(x.stored, r)
}

// try asks until that goes well, or it has taken too long.
func (x *scenario) try(ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(x.t.Context(), x.within)
	defer cancel()
	for {
		once, end := context.WithTimeout(ctx, tryTime+time.Second) // after which a command itself has said why
		err := ask(once)
		end()
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond): // on a bad network a client asks again
		case <-ctx.Done():
			return err
		}
	}
}

// storeAt stores a record at a node, as an Erlang client of its side.
func (x *scenario) storeAt(ctx context.Context, n *node, r record) error {
	conn, err := x.clients[n.side].conn(ctx, n)
	if err != nil {
		return err
	}
	return conn.Store(ctx, r.key(), r.value)
}

// replicate stores a record as a libp2p peer, that enters the network at a node of its side.
func (x *scenario) replicate(ctx context.Context, c *clients, r record) error {
	value, err := r.value.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = x.command(ctx, c, "put", "--replicate", "--timeout", tryTime.String(), "--bootstrap", x.nodesOf(c.side)[0].Addrs[0], "--service", r.name, string(value))
	return err
}

// storeBriefly has both sides store what expires in the partition.
func (x *scenario) storeBriefly() (brief []record) {
	x.t.Helper()
	for side := range sides {
		r := newRecord("briefly", "brief in the "+sides[side], side, int64(x.shortTTL/time.Second))
		n := x.nodesOf(side)[0]
		require.NoError(x.t, x.try(func(ctx context.Context) error { return x.storeAt(ctx, n, r) }))
		brief = append(brief, r)
	}
	return brief
}

func (x *scenario) nodesOf(side int) (of []*node) {
	for _, n := range x.nodes {
		if n.side == side {
			of = append(of, n)
		}
	}
	return of
}

// storedBy returns what a side has stored in a part of the test.
func (x *scenario) storedBy(side int, part string) (of []record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.stored {
		if r.side == side && r.part == part {
			of = append(of, r)
		}
	}
	return of
}

func (x *scenario) findAll(what string) {
	x.t.Helper()
	x.find(what, x.nodes[:], x.stored)
}

// askedAtOnce is how many questions a client has under way at one node.
const askedAtOnce = 16

// find has an Erlang client ask each of some nodes for some records until all are found,
// and says how long that took.
func (x *scenario) find(what string, at []*node, records []record) {
	x.t.Helper()
	start := time.Now()
	var mu sync.Mutex
	var took []time.Duration
	again := 0
	var asking sync.WaitGroup
	for _, n := range at {
		places := make(chan struct{}, askedAtOnce)
		for _, r := range records {
			asking.Go(func() {
				places <- struct{}{}
				defer func() { <-places }()
				asked := 0
				err := x.try(func(ctx context.Context) error {
					asked++
					return x.findAt(ctx, n, r)
				})
				mu.Lock()
				defer mu.Unlock()
				again += asked - 1
				if err != nil {
					x.t.Errorf("%s: %q is not found at %s within %v: %v", what, r.name, n.name, x.within, err)
					return
				}
				took = append(took, time.Since(start))
			})
		}
	}
	asking.Wait()
	slices.Sort(took)
	if len(took) == 0 {
		x.t.Errorf("%s: nothing", what)
		return
	}
	x.t.Logf("%s: %d of %d, after %v at the median and %v at most; asked again %d times", what, len(took), len(at)*len(records),
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), again)
}

// findAt asks a node for a record, as an Erlang client of its side.
func (x *scenario) findAt(ctx context.Context, n *node, r record) error {
	conn, err := x.clients[n.side].conn(ctx, n)
	if err != nil {
		return err
	}
	values, err := conn.Find(ctx, r.key())
	if err == nil && !slices.ContainsFunc(values, r.is) {
		err = fmt.Errorf("%d values, and not this one", len(values))
	}
	return err
}

// lookUp has libp2p peers of both sides look up what Erlang clients of the other side have
// stored, and libp2p peers, in the parts in which these did.
func (x *scenario) lookUp() {
	x.t.Helper()
	start := time.Now()
	var found atomic.Int64
	var looking sync.WaitGroup
	for side, c := range x.clients {
		for _, part := range x.parts {
			other := x.storedBy(1-side, part)
			for _, r := range []record{other[0], other[len(other)-1]} {
				looking.Go(func() {
					if err := x.try(func(ctx context.Context) error { return x.lookUpBy(ctx, c, r) }); err != nil {
						x.t.Errorf("%s is not found by a libp2p peer in the %s within %v: %v", r.name, sides[side], x.within, err)
						return
					}
					found.Add(1)
				})
			}
		}
	}
	looking.Wait()
	x.t.Logf("looked up by libp2p peers: %d of the other side's, in %v", found.Load(), since(start))
}

func (x *scenario) lookUpBy(ctx context.Context, c *clients, r record) error {
	out, err := x.command(ctx, c, "lookup", "--json", "--timeout", tryTime.String(), "--bootstrap", x.nodesOf(c.side)[0].Addrs[0], "--service", r.name)
	if err != nil {
		return err
	}
	var answer struct{ Values []json.RawMessage }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return err
	}
	if len(answer.Values) == 0 {
		return fmt.Errorf("no values in %s", out)
	}
	return nil
}

// requireNowhere requires that no node has a record any more.
func (x *scenario) requireNowhere(r record) {
	x.t.Helper()
	for _, n := range x.nodes {
		var values []wire.Raw
		require.NoError(x.t, x.try(func(ctx context.Context) error {
			conn, err := x.clients[n.side].conn(ctx, n)
			if err == nil {
				values, err = conn.Find(ctx, r.key())
			}
			return err
		}))
		require.Empty(x.t, values, "%s has expired, and is at %s", r.name, n.name)
	}
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

// rest waits until a time: it is what the test is about.
func rest(t *testing.T, until time.Time) {
	t.Helper()
	select {
	case <-time.After(time.Until(until)):
	case <-t.Context().Done():
	}
}
