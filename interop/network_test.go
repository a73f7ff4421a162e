package interop

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/interop/glass"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
)

var (
	networkNodes = flag.Int("network.nodes", 9, "how many processes TestNetwork has")
	networkSeed  = flag.Uint64("network.seed", 1, "what decides all that is random in TestNetwork")
)

const (
	foundWithin  = 2 * time.Second  // of its store, by everyone, who all ask for it at once and miss it
	networkTTL   = 10 * time.Second // of all that is stored
	networkAgain = 250 * time.Millisecond
)

// TestNetwork runs a network of processes, some of them clients and one that
// knows no more than another's https:// endpoint. Erlang nodes and libp2p peers
// store at random ones, and each of them must find everything, wherever it asks:
// when it was stored, after a third of the processes was restarted one by one,
// and after a fifth was killed.
//
//	go test ./interop -run 'TestNetwork$' -network.nodes 25 -network.seed 7 -v
func TestNetwork(t *testing.T) {
	t.Logf("%d processes, seed %d", *networkNodes, *networkSeed)
	w := newMesh(t, *networkNodes, rand.New(rand.NewPCG(*networkSeed, 1)))
	defer w.report()

	t.Run("what is stored", func(t *testing.T) { w.storeAndFind(t, "just stored") })
	ofTest := t // the processes are its own, not a part's
	t.Run("what was stored before a rolling restart of a third", func(t *testing.T) {
		for _, i := range w.rng.Perm(len(w.nodes))[:len(w.nodes)/3] {
			t.Log(w.nodes[i].name)
			w.nodes[i].restart(ofTest)
		}
		w.findAll(t, "after the rolling restart", patience)
	})
	t.Run("what is stored after it", func(t *testing.T) { w.storeAndFind(t, "stored after the rolling restart") })
	t.Run("what was published again after a fifth was killed", func(t *testing.T) {
		for _, i := range w.rng.Perm(len(w.nodes))[:len(w.nodes)/5] {
			t.Log(w.nodes[i].name)
			w.nodes[i].kill()
		}
		w.findAll(t, "after some were killed", networkTTL)
	})
	t.Run("what is stored beside the dead", func(t *testing.T) { w.storeAndFind(t, "stored beside the dead") })

	for _, a := range w.askers {
		if e, ok := a.(*erlangAsker); ok {
			assert.Empty(t, e.Broken(), a.String())
		}
	}
}

// member is a process of the network, which can be restarted.
type member struct {
	*process

	name    string
	dataDir string
	port    int
	flags   []string
	dead    bool
}

func (m *member) start(tb testing.TB) {
	tb.Helper()
	m.process = startProcessOf(tb, m.dataDir, m.port, m.flags...)
	m.port = m.udp(tb).Port
}

// restart stops it in order and starts it with its data, at its port.
func (m *member) restart(tb testing.TB) {
	tb.Helper()
	m.stop()
	m.start(tb)
}

func (m *member) kill() {
	m.process.Kill()
	m.dead = true
}

// asker is who stores and asks: an Erlang node, or a libp2p peer.
type asker interface {
	fmt.Stringer
	advertise(t *testing.T, service string)
	// find returns the ids of the providers that it found, and why no more.
	find(ctx context.Context, service string) (ids []string, err error)
	id() string
	at() *member
}

// erlangAsker asks the one node at which it has a session.
type erlangAsker struct {
	*glass.Gateway
	*glass.Session
	node *member
	kind string
}

func (e *erlangAsker) String() string { return fmt.Sprintf("%s at %s", e.kind, e.node.name) }
func (e *erlangAsker) at() *member    { return e.node }
func (e *erlangAsker) id() string     { return string(e.Session.ID()) }

func (e *erlangAsker) advertise(_ *testing.T, service string) { e.Session.Advertise(service) }

func (e *erlangAsker) find(ctx context.Context, service string) (ids []string, err error) {
	values, err := e.Gateway.FindValue(ctx, e.node.Endpoints[0], maculadht.ServiceKey(service))
	for _, v := range values {
		if id, ok := v.Field("node_id"); ok {
			b, _ := id.Bytes()
			ids = append(ids, string(b))
		}
	}
	return ids, err
}

// peerAsker asks the network that it has joined.
type peerAsker struct {
	*maculadht.Service
	node *member
	kind string
}

func (p *peerAsker) String() string { return fmt.Sprintf("%s by %s", p.kind, p.node.name) }
func (p *peerAsker) at() *member    { return p.node }

func (p *peerAsker) id() string {
	self := p.Routing().Self()
	return string(self[:])
}

func (p *peerAsker) advertise(t *testing.T, service string) {
	t.Helper()
	_, err := p.AdvertiseService(context.Background(), maculadht.Offer{Name: service, Endpoint: "https://127.0.0.1:1", TTL: networkTTL})
	require.NoError(t, err)
}

func (p *peerAsker) find(ctx context.Context, service string) (ids []string, err error) {
	providers, err := p.FindProviders(ctx, service)
	for _, found := range providers {
		ids = append(ids, string(found.NodeID))
	}
	return ids, err
}

// mesh is the processes and who uses them.
type mesh struct {
	rng    *rand.Rand
	nodes  []*member
	askers []asker
	stored []stored

	mu     sync.Mutex
	when   []string                   // the parts of the test, in their order
	took   map[string][]time.Duration // until each asker had found what it looked for, in each
	missed []string                   // lines of a table
	log    func(format string, args ...any)
}

// stored is what somebody advertises.
type stored struct {
	service string
	by      asker
}

func newMesh(t *testing.T, n int, rng *rand.Rand) *mesh {
	t.Helper()
	w := &mesh{rng: rng, took: make(map[string][]time.Duration), log: t.Logf}
	for i := range n {
		m := &member{name: fmt.Sprintf("node %d", i), dataDir: t.TempDir(), flags: []string{"--realm", testRealm, "--log-level", "error"}}
		switch {
		case i == 0:
		case i == n/2: // knows nobody but by an endpoint as Erlang nodes have it
			m.name += " (by https)"
			m.flags = append(m.flags, "--bootstrap", w.server().Endpoints[0])
		default:
			m.flags = append(m.flags, "--bootstrap", w.server().Addrs[0]+","+w.server().Addrs[0])
		}
		if i%4 == 3 {
			m.name += " (client)"
			m.flags = append(m.flags, "--mode", "client")
		}
		m.start(t)
		w.nodes = append(w.nodes, m)
	}
	for i, at := range w.nodes {
		switch {
		case i%2 == 1: // clients of libp2p among them, which Erlang nodes use like any other
			w.askers = append(w.askers, newErlangAsker(t, at, i%4 == 1))
		case i%2 == 0:
			w.askers = append(w.askers, newPeerAsker(t, at, i%4 == 0))
		}
	}
	return w
}

// server returns a random one that others can bootstrap from.
func (w *mesh) server() *member {
	servers := slices.DeleteFunc(slices.Clone(w.nodes), func(m *member) bool { return slices.Contains(m.flags, "client") })
	return servers[w.rng.IntN(len(servers))]
}

func newErlangAsker(t *testing.T, at *member, bootstraps bool) asker {
	t.Helper()
	g := startGlass(t, glass.TTL(networkTTL), glass.Reconnects(glass.DefaultReconnects, networkAgain))
	e := &erlangAsker{Gateway: g, node: at, kind: "Erlang client"}
	var err error
	if bootstraps {
		e.kind = "Erlang node"
		e.Session, err = g.Bootstrap(inTime(t), at.Endpoints[0])
	} else {
		e.Session, err = g.Connect(inTime(t), at.Endpoints[0], nil)
	}
	require.NoError(t, err)
	return e
}

func newPeerAsker(t *testing.T, at *member, serves bool) asker {
	t.Helper()
	mode, kind := maculadht.ModeClient, "libp2p client"
	host := newPeer
	if serves {
		mode, kind, host = maculadht.ModeServer, "libp2p server", newListeningPeer
	}
	s, err := maculadht.New(host(t), maculadht.WithRealm(testRealm), maculadht.WithMode(mode))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	info, err := peer.AddrInfoFromString(at.Addrs[0])
	require.NoError(t, err)
	require.NoError(t, s.Join(context.Background(), *info))
	select {
	case <-s.Joined():
	case <-time.After(patience):
		require.FailNow(t, "not joined", "%s by %s", kind, at.name)
	}
	return &peerAsker{s, at, kind}
}

// living returns those whose node lives.
func (w *mesh) living() []asker {
	return slices.DeleteFunc(slices.Clone(w.askers), func(a asker) bool { return a.at().dead })
}

// storeAndFind has each asker advertise something, some at a time, which all must
// find in time.
func (w *mesh) storeAndFind(t *testing.T, when string) {
	atOnce := max(1, 27/len(w.nodes)) // as all of them are on one machine, with all else that is tested
	for some := range slices.Chunk(w.living(), atOnce) {
		before := len(w.stored)
		for _, a := range some {
			s := stored{fmt.Sprintf("be.cortexiq.test.service-%d", len(w.stored)), a}
			w.stored = append(w.stored, s)
			a.advertise(t, s.service)
		}
		w.find(t, when, foundWithin, w.stored[before:]...)
	}
}

// findAll has all find all that somebody who lives keeps alive.
func (w *mesh) findAll(t *testing.T, when string, within time.Duration) {
	kept := slices.DeleteFunc(slices.Clone(w.stored), func(s stored) bool { return s.by.at().dead })
	w.find(t, when, within, kept...)
}

// find has all look for some records until each has found each.
func (w *mesh) find(t *testing.T, when string, within time.Duration, records ...stored) {
	start := time.Now()
	ctx, cancel := context.WithDeadline(t.Context(), start.Add(within))
	defer cancel()
	var all sync.WaitGroup
	for _, a := range w.living() {
		all.Go(func() {
			missing := slices.Clone(records)
			var why error // it was not found last
			for {
				missing = slices.DeleteFunc(missing, func(s stored) bool {
					if ctx.Err() != nil {
						return false
					}
					ids, err := a.find(ctx, s.service)
					there := slices.Contains(ids, s.by.id())
					if there {
						w.note(when, time.Since(start), "")
					} else if ctx.Err() == nil || why == nil {
						why = err
					}
					return there
				})
				if len(missing) == 0 {
					return
				}
				select {
				case <-time.After(tick):
				case <-ctx.Done():
					for _, s := range missing {
						w.note(when, 0, fmt.Sprintf("| %s | %s | %s | %s | %v |", when, s.service, s.by, a, why))
					}
					t.Errorf("%s: %s has not found %d of %d within %v", when, a, len(missing), len(records), within)
					return
				}
			}
		})
	}
	all.Wait()
}

// note writes down how long something took to be found, or that it was not.
func (w *mesh) note(when string, took time.Duration, missed string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if missed != "" {
		w.missed = append(w.missed, missed)
		return
	}
	if w.took[when] == nil {
		w.when = append(w.when, when)
	}
	w.took[when] = append(w.took[when], took)
}

// report prints how it went.
func (w *mesh) report() {
	for _, when := range w.when {
		took := w.took[when]
		slices.Sort(took)
		n := len(took)
		w.log("found %s: %d, after %v at the median, %v at the 99th percentile, %v at most", when, n,
			took[n/2].Round(time.Millisecond), took[n*99/100].Round(time.Millisecond), took[n-1].Round(time.Millisecond))
	}
	if len(w.missed) > 0 {
		w.log("not found: %d\n\n| when | what | stored by | not found by | why, at last |\n|---|---|---|---|---|\n%s", len(w.missed), strings.Join(w.missed, "\n"))
	}
}
