//go:build !race

// The race detector crashes now and then on what Pebble does in virtual time; .ci/run has
// this test run without it.

package interop

import (
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

var (
	diskHosts  = flag.Int("disks.hosts", 12, "how many hosts TestDisks has")
	diskRounds = flag.Int("disks.rounds", 1, "how many times TestDisks has disks lose power and the network part")
	diskSeed   = flag.Uint64("disks.seed", 1, "what decides all that is random in TestDisks")
)

const (
	disksRoundTrip = 60 * time.Millisecond
	disksLost      = time.Hour // when a lost packet arrives
	disksTrouble   = 90 * time.Second
	disksQuiet     = 3 * time.Minute
	disksTTL       = 1800 * time.Second
	disksAskers    = 3 // of each record after each round
)

// TestDisks has hosts with durable stores lose power while the network is parted, again
// and again, in virtual time. After each quiet period every record that was acknowledged
// is found, as it was last acknowledged, and belongs to whom it belonged.
//
//	go test ./interop -run TestDisks -disks.rounds 20 -disks.seed 7 -v
func TestDisks(t *testing.T) {
	t.Parallel()
	computing.Lock()
	defer computing.Unlock()
	start := time.Now()
	synctest.Test(t, func(t *testing.T) {
		w := newDiskWorld(t, *diskHosts, *diskSeed)
		defer w.close()
		for i := range w.hosts {
			w.open(i)
		}
		w.rest()
		goroutines := 0
		for round := range *diskRounds {
			w.trouble()
			w.rest()
			w.check(round)
			if n := runtime.NumGoroutine(); round == 0 {
				goroutines = n
			} else {
				require.Less(t, n, goroutines*5/4, "goroutines after round %d, %d after the first", round, goroutines)
			}
		}
		t.Logf("seed %d: %d hosts, %d power cuts, %d partitions, %d records acknowledged and found by %d lookups",
			*diskSeed, len(w.hosts), w.cuts, *diskRounds, len(w.stored), w.lookups)
	})
	t.Logf("%v of real time", time.Since(start).Round(time.Second))
}

// diskWorld is hosts with disks on a simulated network.
type diskWorld struct {
	t   *testing.T
	rng *rand.Rand
	net *simnet.Simnet

	mu    sync.Mutex
	sides map[string]int // by IP address: packets between two sides are lost; 0 is off

	hosts   []*diskHost
	stored  map[string]*acked // by key
	cuts    int
	lookups int
}

// diskHost is one host, whose key and disk outlive it.
type diskHost struct {
	key  crypto.PrivKey
	ip   net.IP
	disk *vfs.MemFS

	host.Host
	store   *pebble.Store
	records *records.Manager
	service *maculadht.Service // nil without power
}

// acked is a record that was acknowledged.
type acked struct {
	owner   int
	version int
	value   wire.Raw
	expires time.Time
}

func newDiskWorld(t *testing.T, n int, seed uint64) *diskWorld {
	t.Helper()
	w := &diskWorld{t: t, rng: rand.New(rand.NewPCG(seed, 1)), sides: make(map[string]int), stored: make(map[string]*acked)}
	w.net = &simnet.Simnet{Logger: slog.New(slog.DiscardHandler), LatencyFunc: w.latency}
	w.net.Start()
	for i := range n {
		secret := make([]byte, ed25519.SeedSize)
		for i := range secret {
			secret[i] = byte(w.rng.Uint32())
		}
		key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(secret))
		require.NoError(t, err)
		w.hosts = append(w.hosts, &diskHost{key: key, ip: simnet.IntToPublicIPv4(i << 8), disk: vfs.NewCrashableMem()})
	}
	return w
}

func (w *diskWorld) latency(p *simnet.Packet) time.Duration {
	from, to := p.From.(*net.UDPAddr).IP.String(), p.To.(*net.UDPAddr).IP.String()
	w.mu.Lock()
	defer w.mu.Unlock()
	if side := w.sides[from]; side == 0 || side != w.sides[to] {
		return disksLost
	}
	return disksRoundTrip / 2
}

// side puts a host on a side of the network.
func (w *diskWorld) side(i, side int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sides[w.hosts[i].ip.String()] = side
}

// open gives a host power: what is on its disk is all that it knows, but for the first
// time.
func (w *diskWorld) open(i int) {
	w.t.Helper()
	h := w.hosts[i]
	w.side(i, 1)
	link := simnet.LinkSettings{BitsPerSecond: 100 * simlibp2p.OneMbps}
	var err error
	h.Host, err = libp2p.New(
		libp2p.Identity(h.key),
		libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", h.ip, 8000+w.cuts)), // back at another port
		libp2p.Transport(libp2pquic.NewTransport),
		simlibp2p.QUICSimnet(w.net, simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	)
	require.NoError(w.t, err)
	id := routing.IDFromPeer(h.ID())
	h.store, err = pebble.Open("store", pebble.Owner{Realm: testRealm, NodeID: id[:]}, pebble.WithFS(h.disk), pebble.WithReserve(0))
	require.NoError(w.t, err)
	h.records, err = records.New(records.WithStore(h.store))
	require.NoError(w.t, err)
	h.service, err = maculadht.New(h.Host, maculadht.WithRealm(testRealm), maculadht.WithState(h.store.State()),
		maculadht.WithRouting(routing.WithRecords(h.records)))
	require.NoError(w.t, err)
	var others []peer.AddrInfo
	if w.cuts == 0 && i > 0 { // later it knows whom it knew
		others = append(others, peer.AddrInfo{ID: w.hosts[0].ID(), Addrs: w.hosts[0].Addrs()})
	}
	require.NoError(w.t, h.service.Join(w.t.Context(), others...))
}

// cut takes a host's power: nobody hears of it, and of what its disk has not synced any
// part is lost.
func (w *diskWorld) cut(i int) {
	h := w.hosts[i]
	w.cuts++
	w.side(i, 0)
	left := h.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(101), RNG: w.rng})
	w.stop(h)
	h.disk = left
}

func (w *diskWorld) stop(h *diskHost) {
	if err := errors.Join(h.Host.Close(), h.service.Close(), h.records.Close()); err != nil {
		w.t.Error(err)
	}
	h.service = nil
}

func (w *diskWorld) close() {
	var closing sync.WaitGroup
	for _, h := range w.hosts {
		if h.service != nil {
			closing.Go(func() { w.stop(h) })
		}
	}
	closing.Wait()
	w.net.Close()
}

// rest has all on one side, with power, for as long as a mesh may take to heal.
func (w *diskWorld) rest() {
	for i, h := range w.hosts {
		if h.service == nil {
			w.open(i)
		}
		w.side(i, 1)
	}
	time.Sleep(disksQuiet)
}

// trouble parts the network in two for a while, in which records are stored, and hosts
// lose power and get it back.
func (w *diskWorld) trouble() {
	for i := range w.hosts {
		w.side(i, 1+w.rng.IntN(2))
	}
	dark := -1
	for end := time.Now().Add(disksTrouble); time.Now().Before(end); time.Sleep(time.Second) {
		w.put()
		switch {
		case w.rng.IntN(8) != 0:
		case dark < 0:
			dark = w.rng.IntN(len(w.hosts))
			w.cut(dark)
		default:
			w.open(dark)
			w.side(dark, 1+w.rng.IntN(2))
			dark = -1
		}
	}
}

// put has a host store a record of its own, new or again with another value.
func (w *diskWorld) put() {
	owner := w.rng.IntN(len(w.hosts))
	h := w.hosts[owner]
	if h.service == nil {
		return
	}
	name := fmt.Sprintf("%d of %d", w.rng.IntN(10), owner)
	next := &acked{owner: owner, expires: time.Now().Add(disksTTL)}
	if last := w.stored[name]; last != nil {
		next.version = last.version + 1
	}
	id := routing.IDFromPeer(h.ID())
	next.value = wire.RawMap(
		wire.Pair{Key: "node_id", Value: wire.RawBytes(id[:])},
		wire.Pair{Key: "version", Value: wire.RawInt(int64(next.version))},
		wire.Pair{Key: "ttl", Value: wire.RawInt(int64(disksTTL / time.Second))},
	)
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	_, err := h.service.Store(ctx, keyOf(name), next.value)
	if errors.Is(err, maculadht.ErrNotKept) {
		w.t.Errorf("a store that works: %v", err)
		return
	}
	// Kept here is acknowledged: whoever else could be asked may have been out of reach.
	w.stored[name] = next
}

func keyOf(name string) []byte { return maculadht.ServiceKey(name) }

// check looks every record up at some hosts.
func (w *diskWorld) check(round int) {
	w.t.Helper()
	for name, want := range w.stored {
		if time.Now().After(want.expires.Add(-time.Minute)) {
			delete(w.stored, name)
			continue
		}
		for range disksAskers {
			asker := w.rng.IntN(len(w.hosts))
			w.lookups++
			ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
			found, err := w.hosts[asker].service.FindValues(ctx, keyOf(name))
			cancel()
			if err != nil {
				w.t.Errorf("round %d: %q, last stored %s ago, asked at %d: %v", round, name, time.Since(want.expires.Add(-disksTTL)), asker, err)
			} else if got := found.Values[0].Raw; string(got) != string(want.value) {
				w.t.Errorf("round %d: %q asked at %d: %s instead of version %d", round, name, asker, got, want.version)
			}
		}
		w.requireOwned(name, want)
	}
}

// requireOwned has another peer try to replace a record at its owner.
func (w *diskWorld) requireOwned(name string, want *acked) {
	w.t.Helper()
	owner := w.hosts[want.owner]
	id := routing.IDFromPeer(owner.ID())
	forged := wire.RawMap(wire.Pair{Key: "node_id", Value: wire.RawBytes(id[:])}, wire.Pair{Key: "forged", Value: wire.RawInt(1)})
	err := owner.records.Store(w.t.Context(), records.Put{Key: keyOf(name), Value: forged, NodeID: id[:], TTL: disksTTL, From: []byte("somebody else")})
	require.ErrorIs(w.t, err, records.ErrNotOwner)
}
