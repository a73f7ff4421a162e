package faults

import (
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

	"github.com/macula-mesh/macula-node/interop/lossynet"
)

var (
	long = flag.Bool("faults.long", false, "part the network for 60 s, with 200 ms each way")
	seed = flag.Uint64("faults.seed", 1, "what decides what becomes of the packets")
)

// form is how the test is run.
type form struct {
	conditions lossynet.Conditions
	partition  time.Duration
	thorough   bool          // it looks at each step, and not only at what is there in the end
	values     int           // that each Erlang client stores, in each part of the test
	shortTTL   time.Duration // of what expires in the partition
	within     time.Duration // what is stored is to be found by each, and all after the partition
}

func formOf() form {
	f := form{
		conditions: lossynet.Conditions{Loss: 0.1, Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Late: 0.05, LateBy: 50 * time.Millisecond},
		partition:  time.Second,
		values:     1,
		shortTTL:   time.Second,
		within:     30 * time.Second,
	}
	if *long {
		f.conditions.Delay, f.partition, f.thorough = 200*time.Millisecond, time.Minute, true
		f.values, f.shortTTL, f.within = 10, 20*time.Second, 2*time.Minute
	}
	return f
}

// TestPartition: of five processes on a network that loses every tenth packet, takes 20 ms
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
	if x.thorough {
		x.findAll("stored before, found before")
	}
	expires := x.storeBriefly()
	x.part()
	parted := time.Now()
	x.store("during")
	atOnce(func() { x.findMeanwhile(west) }, func() { x.findMeanwhile(east) })
	rest(t, parted.Add(f.partition))
	x.Heal()
	healed := time.Now()
	x.findAll("stored before and during, found after")
	t.Logf("all was asked for by %v after the partition of %v", since(healed), healed.Sub(parted).Round(100*time.Millisecond))
	if x.thorough {
		x.store("after")
		x.findAll("stored after too, found after")
	}
	// A copy that is under way when the network is parted comes when it is sent again, up to
	// as long as that after the end, and lives from then on.
	gone := healed.Add(healed.Sub(parted) + f.shortTTL + 2*time.Second)
	if now := time.Now(); gone.Before(now) {
		gone = now.Add(tryTime)
	}
	atOnce(x.lookUp, func() { x.requireNowhere(expires, gone) })
	s := x.Stats()
	t.Logf("packets: %d sent, %.1f %% of them lost, %d overtaken, %d lost by the partition; %d to elsewhere",
		s.Sent, 100*float64(s.Lost)/float64(s.Sent), s.Overtaken, s.Parted, s.Elsewhere)
	require.Positive(t, s.Overtaken)
	require.Positive(t, s.Parted)
	require.InDelta(t, f.conditions.Loss, float64(s.Lost)/float64(s.Sent), 0.03)
	require.Zero(t, s.Crowded)
}

// atOnce returns once all that was to be done is.
func atOnce(all ...func()) {
	var doing sync.WaitGroup
	for _, do := range all {
		doing.Go(do)
	}
	doing.Wait()
}

// scenario is what is stored on a network.
type scenario struct {
	*world
	form

	mu     sync.Mutex
	stored []record
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

func (x *scenario) findMeanwhile(side int) {
	x.t.Helper()
	x.find(fmt.Sprintf("stored in the %s meanwhile, found there", sides[side]), x.nodesOf(side), x.storedBy(side, "during"))
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

// lookUp has libp2p peers of both sides look up some of what the other side has stored.
func (x *scenario) lookUp() {
	start := time.Now()
	var found, all atomic.Int64
	var looking sync.WaitGroup
	for side, c := range x.clients {
		for _, r := range x.lookedUpOf(1 - side) {
			all.Add(1)
			looking.Go(func() {
				if err := x.try(func(ctx context.Context) error { return x.lookUpBy(ctx, c, r) }); err != nil {
					x.t.Errorf("%s is not found by a libp2p peer in the %s within %v: %v", r.name, sides[side], x.within, err)
					return
				}
				found.Add(1)
			})
		}
	}
	looking.Wait()
	x.t.Logf("looked up by libp2p peers: %d of %d of the other side's, in %v", found.Load(), all.Load(), since(start))
	if all.Load() == 0 {
		x.t.Error("nothing was looked up by libp2p peers")
	}
}

// lookedUpOf returns what libp2p peers of a side have stored, and one that an Erlang client
// stored of each part of the test in which these did.
func (x *scenario) lookedUpOf(side int) (some []record) {
	for _, part := range []string{"before", "during", "after"} {
		peers, erlang := []record(nil), []record(nil)
		for _, r := range x.storedBy(side, part) {
			if r.replicated {
				peers = append(peers, r)
			} else {
				erlang = append(erlang, r)
			}
		}
		if len(peers) > 0 {
			some = append(append(some, peers...), erlang[:min(1, len(erlang))]...)
		}
	}
	return some
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

// requireNowhere requires that no node has any of some records any more, by a time.
func (x *scenario) requireNowhere(records []record, by time.Time) {
	x.t.Helper()
	ctx, cancel := context.WithDeadline(x.t.Context(), by)
	defer cancel()
	var asking sync.WaitGroup
	for _, n := range x.nodes {
		for _, r := range records {
			asking.Go(func() {
				if err := x.tryUntil(ctx, func(ctx context.Context) error { return x.missAt(ctx, n, r) }); err != nil {
					x.t.Errorf("%s has expired, and is at %s: %v", r.name, n.name, err)
				}
			})
		}
	}
	asking.Wait()
	x.t.Logf("expired in the partition: %d records are at none of %d nodes, %v before they have to be gone", len(records), nodes, time.Until(by).Round(time.Millisecond))
}

// missAt asks a node for what nobody should have.
func (x *scenario) missAt(ctx context.Context, n *node, r record) error {
	conn, err := x.clients[n.side].conn(ctx, n)
	if err != nil {
		return err
	}
	values, err := conn.Find(ctx, r.key())
	if err == nil && len(values) > 0 {
		err = fmt.Errorf("%d values", len(values))
	}
	return err
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
