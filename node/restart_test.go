package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/node/internal/hosttest"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
)

// Five nodes restart one after the other, each with its key and port and an empty
// store: what was stored once, and what is advertised, is found from every node all
// the while.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const nodes, values, services = 5, 100, 20
	for name, inOrder := range map[string]bool{"stopped in order": true, "killed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfgs, all := make([]Config, nodes), make([]*Node, nodes)
			for i := range all {
				cfgs[i] = Config{Key: newKey(t), Listen: []string{onLoopback4}, Version: "test"}
				bootstrappedBy(all[:i]...)(&cfgs[i])
				n, err := New(cfgs[i])
				require.NoError(t, err)
				all[i] = n
				cfgs[i].Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", n.port)}
			}
			t.Cleanup(func() {
				for _, n := range all {
					hosttest.Close(t, n)
				}
			})
			for i := range all {
				cfgs[i].Bootstrap = nil
				for j, other := range all {
					if j != i {
						bootstrappedBy(other)(&cfgs[i])
					}
				}
			}
			for _, a := range all {
				for _, b := range all {
					require.Eventually(t, func() bool { return a == b || a.knows(b) }, 4*patience, tick)
				}
			}
			key := func(i int) []byte { return maculadht.ServiceKey(fmt.Sprint("value ", i)) }
			for i := range values {
				_, err := all[i%nodes].Service().Store(patient(t), key(i), provider(fmt.Sprint("provider ", i)))
				require.NoError(t, err)
			}
			advertise := func(i int) {
				for s := i; s < services; s += nodes {
					offer, err := all[i].Service().AdvertiseService(patient(t), maculadht.Offer{Name: fmt.Sprint("service ", s), Endpoint: "https://192.0.2.7:8080"})
					require.NoError(t, err)
					select {
					case <-offer.Published():
					case <-time.After(2 * patience):
						require.FailNow(t, "not published")
					}
				}
			}
			for i := range all {
				advertise(i)
			}
			for i := range all {
				if !inOrder {
					require.NoError(t, all[i].host.Close()) // abruptly, and what is left of the node after that
				}
				err := all[i].Close()
				if inOrder {
					require.NoError(t, err)
				}
				require.Eventually(t, func() bool {
					all[i], err = New(cfgs[i])
					return err == nil
				}, patience, tick, "its port is free again")
				select {
				case <-all[i].Service().Joined():
				case <-time.After(4 * patience):
					require.FailNow(t, "not joined")
				}
				for v := range values {
					for _, from := range []int{i, (i + 1 + v%(nodes-1)) % nodes} {
						_, err := all[from].Service().FindValues(patient(t), key(v))
						require.NoError(t, err, "value %d, from node %d, after the restart of %d", v, from, i)
					}
				}
				for s := range services {
					for from, n := range all {
						_, err := n.Service().FindProviders(patient(t), fmt.Sprint("service ", s))
						require.NoError(t, err, "service %d, from node %d, after the restart of %d", s, from, i)
					}
				}
				advertise(i) // as its program does at each start
			}
			_, err := all[0].Service().FindValues(patient(t), key(values))
			require.ErrorIs(t, err, maculadht.ErrNotFound)
			require.NotErrorIs(t, err, proto.ErrUnreachable)
		})
	}
}
