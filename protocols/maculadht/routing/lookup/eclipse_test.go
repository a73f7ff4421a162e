package lookup

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire/procedures"
	"github.com/macula-mesh/macula-node/protocols/maculadht/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht/internal/routingtest"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var (
	eclipseNodes = flag.Int("eclipse.nodes", 100, "how many nodes TestEclipse has")
	eclipseKeys  = flag.Int("eclipse.keys", 2, "how many keys are beset there, one after the other")
	eclipseApps  = flag.Int("eclipse.apps", 2, "how many apps join and look for each")
	eclipseSeed  = flag.Uint64("eclipse.seed", 1, "what decides all that is random there")
)

// app is a node that only asks.
type app struct {
	*routingtest.SimNode
	*Lookups
	network *routingtest.SimNetwork
}

// joinApp returns an app that has just joined: by a lookup of its own id, and one in
// each bucket that is farther away than its nearest contact. Who answers becomes its
// contact.
func joinApp(s *routingtest.Sim, name string, rng *rand.Rand) *app {
	node := routingtest.NewSimNode(s.T, name)
	network := s.Network(node)
	l, err := New(node.Server, network, WithDraw(rng.IntN), WithObserver(func(h Hop) {
		if met := s.Get(h.Contact.ID); h.Err == nil && met != nil {
			s.Greet(node, met)
		}
	}))
	require.NoError(s.T, err)
	l.randomID = func() routing.ID { return routingtest.RandomID(rng) }
	a := &app{node, l, network}
	s.Greet(node, s.Random(rng))
	self := node.Contact.ID
	_, err = l.Nodes(context.Background(), self[:])
	require.NoError(s.T, err)
	for bucket := range node.Server.Table().Depth() {
		target := routingtest.IDAt(rng, self, bucket)
		_, err := l.Nodes(context.Background(), target[:])
		require.NoError(s.T, err)
	}
	return a
}

func (a *app) leave() {
	a.SimNode.Server.Close()
	a.SimNode.Server.Records().Close()
}

// publish stores a value under a key as replication does.
func (a *app) publish(t testing.TB, key []byte) {
	found, err := a.NodesFor(context.Background(), key)
	require.NoError(t, err)
	for _, to := range append(found.Closest, found.Wider...) {
		require.NoError(t, client.Put(context.Background(), a.network, to, procedures.StoreArgs{Key: key, Value: routingtest.ValueOf(string(key), time.Hour)}))
	}
}

// TestEclipse has liars with ids chosen near a key, who are all in one network or each in
// one of its own, and say that there is nothing, or that what they have is all, and prints how often apps that have just joined find what others that
// have just joined have stored there. Calm lookups are to cost no more for it.
//
//	go test ./protocols/maculadht/routing/lookup -run TestEclipse -eclipse.nodes 1000 -eclipse.keys 100 -eclipse.apps 10 -v
func TestEclipse(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	lines := fmt.Sprintf("%d nodes, %d keys, %d apps each, seed %d\n\n", *eclipseNodes, *eclipseKeys, *eclipseApps, *eclipseSeed) +
		"| | found | messages mean / p99 | widened |\n|---|---|---|---|\n"
	for _, tt := range []struct {
		name    string
		liars   routingtest.Band
		atLeast float64
	}{
		{name: "calm", atLeast: 1},
		{"20 identities at one address", routingtest.Band{Size: 20, OneAddress: true}, 0.999},
		{"60 identities in 60 networks", routingtest.Band{Size: 60}, 0.99},
		{"3 in 3 networks, each with a decoy", routingtest.Band{Size: 3, Decoys: true}, 0.99},
		{"10 in 10 networks, each with a decoy", routingtest.Band{Size: 10, Decoys: true}, 0.9},
		{"60 in 60 networks, each with a decoy", routingtest.Band{Size: 60, Decoys: true}, 0.99},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := routingtest.Rand(*eclipseSeed)
				s := routingtest.NewSim(t, *eclipseNodes, rng)
				defer s.Close()
				var found, widened int
				var messages []int
				for i := range *eclipseKeys {
					id := routingtest.RandomID(rng)
					key := id[:]
					var band []*routingtest.SimNode
					if tt.liars.Size > 0 {
						band = s.Beset(id, tt.liars, rng)
					}
					provider := joinApp(s, fmt.Sprint("provider-", i), rng)
					provider.publish(t, key)
					provider.leave()
					for j := range *eclipseApps {
						a := joinApp(s, fmt.Sprint("app-", i, "-", j), rng)
						before := a.network.Sent.Load()
						got, _ := a.Values(context.Background(), key)
						messages = append(messages, int(a.network.Sent.Load()-before))
						if hasValueOf(got, string(key)) {
							found++
						}
						if got.Wider != nil {
							widened++
						}
						a.leave()
					}
					s.Relieve(band)
				}
				lookups := len(messages)
				lines += fmt.Sprintf("| %s | %d of %d | %.1f / %d | %d |\n", tt.name, found, lookups, mean(messages), quantile(messages, 0.99), widened)
				if share := float64(found) / float64(lookups); share < tt.atLeast {
					t.Errorf("found %d of %d, want %v", found, lookups, tt.atLeast)
				}
				if tt.liars.Size > 20 && widened == 0 {
					t.Error("nobody looked in the wider region")
				}
			})
		})
	}
	t.Log("\n" + lines)
}

func hasValueOf(found *Found, provider string) bool {
	return slices.ContainsFunc(found.Values, func(v FoundValue) bool { return string(v.NodeID) == provider })
}
