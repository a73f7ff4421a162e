package interop

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

var deadNodes = flag.Int("dead.nodes", 10, "how many nodes TestStoredBesideTheDead has, of which a fifth dies")

// kill takes a node off the network at once and without a word.
func (w *world) kill(n *node.Node) {
	w.Helper()
	conn, err := w.Listen(udpOf(w, n.Endpoint()).String())
	require.NoError(w, err)
	var gone sync.WaitGroup
	gone.Go(func() {
		for b := make([]byte, 1<<11); ; { // nothing comes of what is sent there
			if _, _, err := conn.ReadFrom(b); err != nil {
				return
			}
		}
	})
	w.Cleanup(func() { conn.Close(); gone.Wait() })
}

// TestStoredBesideTheDead: a fifth of the nodes is killed, and from that moment on
// Erlang clients store and all who live ask at once, again and again. Each has found
// each in time, though many a contact is dead of whom nobody knows yet.
//
//	go test ./interop -run TestStoredBesideTheDead -dead.nodes 25 -v
func TestStoredBesideTheDead(t *testing.T) {
	t.Parallel()
	const rounds = 10
	nodes, dead := *deadNodes, *deadNodes/5
	inWorld(t, func(w *world) {
		rng := rand.New(rand.NewPCG(1, 1))
		ours := []*node.Node{w.node()}
		for range nodes - 1 {
			ours = append(ours, w.node(ours[0].Addrs()[0].String()))
		}
		w.know(ours...)
		w.Pass(time.Minute)
		rng.Shuffle(nodes, func(i, j int) { ours[i], ours[j] = ours[j], ours[i] })
		living := ours[dead:]
		g := w.glass()
		var sessions []*glass.Session
		for _, n := range living {
			s, err := g.Connect(w.Context(), n.Endpoint(), nil)
			require.NoError(w, err)
			sessions = append(sessions, s)
		}
		for _, n := range ours[:dead] {
			w.kill(n)
		}

		var mu sync.Mutex
		took := map[string][]time.Duration{}
		for round := range rounds {
			key := maculadht.ServiceKey(fmt.Sprintf("be.cortexiq.test.service-%d", round))
			start := time.Now()
			by := rng.IntN(len(living))
			require.NoError(w, sessions[by].Say(&wire.Store{Key: key, Value: serviceRecord(sessions[by].ID(), living[by].Endpoint(), glass.DefaultTTL)}))
			find := map[string]func(ctx context.Context, n *node.Node) int{
				"over ALPN": func(ctx context.Context, n *node.Node) int {
					values, _ := g.FindValue(ctx, n.Endpoint(), key)
					return len(values)
				},
				"over libp2p": func(ctx context.Context, n *node.Node) int {
					found, _ := n.Service().FindValues(ctx, key)
					return len(found.Values)
				},
			}
			var all sync.WaitGroup
			for how, f := range find {
				for _, n := range living {
					all.Go(func() {
						for f(w.Context(), n) == 0 && time.Since(start) < time.Minute {
							time.Sleep(tick)
						}
						mu.Lock()
						defer mu.Unlock()
						took[how] = append(took[how], time.Since(start))
					})
				}
			}
			all.Wait()
			w.Pass(time.Second)
		}
		for how, t := range took {
			slices.Sort(t)
			w.Logf("%s: %d found, after %v at the median, %v at the 99th percentile, %v at most", how, len(t), t[len(t)/2], t[len(t)*99/100], t[len(t)-1])
			require.LessOrEqual(w, t[len(t)-1], foundWithin, how)
		}
	})
}
