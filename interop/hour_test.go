package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

var hourEvery = flag.Duration("hour.every", 2*time.Minute, "how often each node stores and asks in TestHourBesideErlang")

// know waits until nodes of ours know each other.
func (w *world) know(nodes ...*node.Node) {
	w.Helper()
	w.eventually(func() bool {
		for _, n := range nodes {
			for _, other := range nodes {
				if _, known := n.Service().Routing().Contact(other.ID()); n != other && !known {
					return false
				}
			}
		}
		return true
	}, "our nodes know each other")
}

// bootstrap has a double join by an endpoint, as an Erlang node. It tries again
// where that is busy with another handshake, or not up yet.
func (w *world) bootstrap(g *glass.Gateway, endpoint string) (s *glass.Session) {
	w.Helper()
	w.eventually(func() bool {
		var err error
		s, err = g.Bootstrap(w.Context(), endpoint)
		return err == nil
	}, endpoint+" is joined")
	return s
}

// storeMessages returns how many STOREs and _dht.stores all of them were sent.
func storeMessages(ours []*node.Node, theirs []*glass.Gateway) (n int) {
	for _, o := range ours {
		s := o.Service().Handlers().Stats()
		n += int(s.Stored + s.DroppedStores)
	}
	for _, g := range theirs {
		n += g.Stats().Frames[wire.TypeStore]
	}
	return n
}

// TestStoreIsNotAmplified: two gateways of ours and two of theirs that all know
// each other do not pass what an Erlang client stores on to each other for ever.
func TestStoreIsNotAmplified(t *testing.T) {
	t.Parallel()
	say := func(w *world, client *glass.Session, key []byte, value wire.Raw) {
		require.NoError(w, client.Say(&wire.Store{Key: key, Value: value}))
	}
	tests := map[string]struct {
		store  func(w *world, client *glass.Session, key []byte, value wire.Raw)
		every  time.Duration // that it is stored again; 0 for never
		stores int           // that the client sends in 10 minutes or a little less
		copies int           // that are to be made in them, to the one other node of ours
	}{
		"said once": {say, 0, 1, 1},
		"renewed": {func(_ *world, client *glass.Session, _ []byte, _ wire.Raw) {
			client.Advertise("be.cortexiq.test.greeter")
		}, 0, 3, 3}, // after 240 s each, when the copies have lived more than half their life
		"renewed all the time": {say, 10 * time.Second, 55, 4}, // after 150 s each
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				theirs := []*glass.Gateway{w.glass(), w.glass()}
				first := w.node(theirs[0].Endpoint(), theirs[1].Endpoint())
				second := w.node(theirs[0].Endpoint(), theirs[1].Endpoint(), first.Addrs()[0].String())
				ours := []*node.Node{first, second}
				for _, g := range theirs {
					for _, o := range ours {
						w.bootstrap(g, o.Endpoint())
					}
				}
				w.bootstrap(theirs[0], theirs[1].Endpoint())
				w.bootstrap(theirs[1], theirs[0].Endpoint())
				w.know(ours...)
				w.eventually(func() bool { return len(first.Uplinks().Sessions()) == 2 && len(second.Uplinks().Sessions()) == 2 }, "sessions with both")
				client, err := w.glass().Connect(w.Context(), first.Endpoint(), nil)
				require.NoError(w, err)
				w.Pass(time.Minute)

				before := storeMessages(ours, theirs)
				require.Zero(w, before, "nobody stores anything by itself")
				key := maculadht.ServiceKey("be.cortexiq.test.greeter")
				test.store(w, client, key, serviceRecord(client.ID(), first.Endpoint(), glass.DefaultTTL))
				w.Pass(10 * time.Second)
				for _, o := range ours {
					found, err := o.Service().FindValues(w.Context(), key)
					require.NoError(w, err)
					require.Len(w, found.Values, 1)
				}
				once := storeMessages(ours, theirs)
				require.Equal(w, 2, once, "the STORE and its copy")
				if test.every > 0 {
					for range test.stores - 1 {
						w.Pass(test.every)
						test.store(w, client, key, serviceRecord(client.ID(), first.Endpoint(), glass.DefaultTTL))
					}
				} else {
					w.Pass(10 * time.Minute)
				}
				w.Pass(time.Second)
				in10 := storeMessages(ours, theirs)
				w.Logf("%d messages at once, %d in 10 minutes", once, in10)
				require.Equal(w, test.stores+test.copies, in10)
				require.Zero(w, client.Received(wire.TypeStore), "nor is it told what it has said")
				for _, g := range theirs {
					require.Zero(w, g.Stats().Frames[wire.TypeStore], "nothing is passed on to Erlang nodes")
				}
				for _, g := range theirs {
					require.Empty(w, g.Broken())
				}
			})
		})
	}
}

// serviceRecord is a record of a service as Erlang clients write it.
func serviceRecord(id []byte, endpoint string, ttl time.Duration) wire.Raw {
	return wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(id)},
		wire.Pair{Key: "endpoint", Value: wire.RawText(endpoint)},
		wire.Pair{Key: "metadata", Value: wire.RawMap()},
		wire.Pair{Key: "ttl", Value: wire.RawInt(int64(ttl / time.Second))},
	)
}

// resident is who stores and asks in a mixed mesh: an Erlang node or one of ours.
type resident interface {
	store(w *world, key []byte) error
	find(w *world, key []byte) (ids []string, err error)
	id() string
}

type erlangResident struct {
	*glass.Gateway
	session *glass.Session
}

func (e erlangResident) id() string { return string(e.session.ID()) }

// store says a STORE on its session, as a client does, and at all that it knows.
func (e erlangResident) store(w *world, key []byte) error {
	value := serviceRecord(e.session.ID(), e.Endpoint(), glass.DefaultTTL)
	return errors.Join(e.session.Say(&wire.Store{Key: key, Value: value}), e.Propagate(w.Context(), key, value))
}

func (e erlangResident) find(w *world, key []byte) ([]string, error) {
	values, err := e.Lookup(w.Context(), key)
	if errors.Is(err, glass.ErrNotFound) {
		return nil, nil
	}
	var ids []string
	for _, v := range values {
		id, _ := v.Field("node_id")
		b, _ := id.Bytes()
		ids = append(ids, string(b))
	}
	return ids, err
}

type ourResident struct{ *node.Node }

func (o ourResident) id() string { self := o.ID(); return string(self[:]) }

func (o ourResident) store(w *world, key []byte) error {
	_, err := o.Service().Store(w.Context(), key, serviceRecord([]byte(o.id()), o.Endpoint(), glass.DefaultTTL))
	return err
}

func (o ourResident) find(w *world, key []byte) ([]string, error) {
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	found, err := o.Service().FindValues(ctx, key)
	if errors.Is(err, maculadht.ErrNotFound) {
		return nil, nil
	}
	var ids []string
	for _, v := range found.Values {
		ids = append(ids, string(v.NodeID))
	}
	return ids, err
}

// TestHourBesideErlang is an hour of a mixed mesh: two Erlang nodes at one gateway
// of ours, a third one at another. All store, look up what each of the others has
// stored, and what nobody has. Nothing breaks, no connections grow, and all is
// found.
//
//	go test ./interop -run TestHourBesideErlang -hour.every 500ms -v
func TestHourBesideErlang(t *testing.T) {
	t.Parallel()
	const soonEnough = 2 * time.Second // for any question, be it a miss
	inWorld(t, func(w *world) {
		left := w.node()
		right := w.node(left.Addrs()[0].String())
		w.know(left, right)
		erlang := []*glass.Gateway{w.glass(), w.glass(), w.glass()}
		all := []resident{ourResident{left}, ourResident{right}}
		for i, at := range []*node.Node{left, left, right} {
			all = append(all, erlangResident{erlang[i], w.bootstrap(erlang[i], at.Endpoint())})
		}
		w.Pass(5 * time.Minute) // its polls are over that could find somebody new

		connections := func() (n []int) {
			for _, e := range erlang {
				s := e.Stats()
				n = append(n, s.Open, s.DialledOpen)
			}
			return append(n, len(left.Host().Network().Conns()), len(right.Host().Network().Conns()))
		}
		var before []int
		questions, second, missed := 0, 0, 0
		longest := time.Duration(0)
		ask := func(r resident, key []byte) []string {
			start := time.Now()
			ids, err := r.find(w, key)
			took := time.Since(start)
			longest = max(longest, took)
			questions++
			require.NoError(w, err)
			require.LessOrEqual(w, took, soonEnough, "for a question, be it for what nobody has")
			return ids
		}
		keyOf := func(round, by int) []byte {
			return maculadht.ServiceKey(fmt.Sprintf("be.cortexiq.test.service-%d-%d", round, by))
		}
		rounds := int(time.Hour / *hourEvery)
		for round := range rounds {
			start := time.Now()
			for i, r := range all {
				require.NoError(w, r.store(w, keyOf(round, i)))
			}
			w.Pass(max(2*time.Second, *hourEvery/5))
			if before == nil {
				before = connections()
			}
			for i, r := range all {
				for j, by := range all {
					if i == j {
						continue
					}
					key := keyOf(round, j)
					if ids := ask(r, key); len(ids) == 1 && ids[0] == by.id() {
						continue
					}
					second++
					time.Sleep(time.Second)
					if ids := ask(r, key); len(ids) != 1 || ids[0] != by.id() {
						missed++
						w.Logf("round %d: what %d stored was not found by %d", round, j, i)
					}
				}
				if round%5 == 0 {
					require.Empty(w, ask(r, keyOf(-1-round, i)), "nobody has it")
				}
			}
			time.Sleep(time.Until(start.Add(*hourEvery)))
		}
		after := connections()
		w.Logf("%d rounds, %d questions, %d asked again, %d not found, the longest took %v; connections %v, at the end %v",
			rounds, questions, second, missed, longest, before, after)
		require.Zero(w, missed, "not found")
		for i, e := range erlang {
			require.Empty(w, e.Broken(), "Erlang node %d", i)
			require.Empty(w, e.Lapses(), "Erlang node %d", i)
			require.Equal(w, 1, all[2+i].(erlangResident).session.Connections(), "Erlang node %d", i)
		}
		for i := range after {
			require.LessOrEqual(w, after[i], before[i]+1, "connections are flat: %v, %v", before, after)
		}
	})
}
