package faults

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

// ttl is that of what is to be found in the end, in seconds.
const ttl = 3600

// record is one that was acknowledged.
type record struct {
	part, name string
	side       int
	replicated bool // by a libp2p peer; else an Erlang client has stored it
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
	return record{part: part, name: name, side: side, value: wire.RawMap(
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
		if !x.thorough && part != "during" { // joining a network like this takes a while
			continue
		}
		r := newRecord(part, part+" by a libp2p peer in the "+sides[side], side, ttl)
		r.replicated = true
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
	return x.tryUntil(ctx, ask)
}

// tryUntil asks until that goes well, or the context ends.
func (x *scenario) tryUntil(ctx context.Context, ask func(context.Context) error) error {
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
		brief = append(brief, newRecord("briefly", "brief in the "+sides[side], side, int64(x.shortTTL/time.Second)))
	}
	var storing sync.WaitGroup
	for side, r := range brief {
		storing.Go(func() {
			if err := x.try(func(ctx context.Context) error { return x.storeAt(ctx, x.nodesOf(side)[0], r) }); err != nil {
				x.t.Errorf("%s is not stored within %v: %v", r.name, x.within, err)
			}
		})
	}
	storing.Wait()
	return brief
}
