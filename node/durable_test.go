package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node/api/client"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
)

// stopsWithin is how long a node may take to stop.
const stopsWithin = 5 * time.Second

// A durable node that starts again has what it kept and advertised, goes by the same
// store_id, and is in its network without a bootstrap peer.
func TestDurableNodeComesBack(t *testing.T) {
	other := startNode(t)
	cfg := Config{Key: newKey(t), Listen: []string{onLoopback4}, Version: "test", DataDir: t.TempDir(), Durable: true}
	start := func(cfg Config) *Node {
		n, err := New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { n.Close() })
		return n
	}
	joined := func(n *Node) {
		t.Helper()
		select {
		case <-n.Service().Joined():
		case <-time.After(4 * patience):
			require.FailNow(t, "not joined")
		}
		require.True(t, n.knows(other))
	}
	withBootstrap := cfg
	bootstrappedBy(other)(&withBootstrap)
	n := start(withBootstrap)
	joined(n)
	require.Equal(t, StoreDisk, n.StoreStatus().Kind)
	require.Equal(t, filepath.Join(cfg.DataDir, "store"), n.StoreStatus().Dir)
	require.NoError(t, n.StoreStatus().Failing)
	id := n.Service().Routing().Records().StoreID()
	_, err := n.Service().Store(patient(t), []byte("kept"), provider("kept"))
	require.NoError(t, err)
	_, err = n.Service().AdvertiseService(patient(t), maculadht.Offer{Name: "greeter", Endpoint: "https://192.0.2.7:8080"})
	require.NoError(t, err)

	for range 2 {
		begun := time.Now()
		require.NoError(t, n.Close())
		took := time.Since(begun)
		t.Logf("stopped in %v", took)
		require.Less(t, took, stopsWithin)

		n = start(cfg)
		require.Equal(t, id, n.Service().Routing().Records().StoreID())
		here, err := n.Service().Routing().Records().Values(t.Context(), []byte("kept"))
		require.NoError(t, err)
		require.Len(t, here, 1)
		all := n.Service().Advertisements()
		require.Len(t, all, 1)
		require.Equal(t, "greeter", all[0].Offer.Name)
		joined(n)
	}
	found, err := other.Service().FindProviders(patient(t), "greeter")
	require.NoError(t, err)
	require.Len(t, found, 1)
}

// Two nodes can not be on one store, and one that can not have its store does not start.
func TestDurableNodeThatCanNotBe(t *testing.T) {
	key, dir := newKey(t), t.TempDir()
	durable := func(c *Config) { c.Key, c.DataDir, c.Durable = key, dir, true }
	n := startNode(t, durable)
	_, err := New(Config{Key: key, Listen: []string{onLoopback4}, DataDir: dir, Durable: true})
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, n.Close())
	_, err = New(Config{Key: key, Listen: []string{onLoopback4}, DataDir: dir, Durable: true, Realm: "org.other"})
	require.ErrorIs(t, err, pebble.ErrForeign)
}

// failingStore is a store whose disk fails.
type failingStore struct {
	records.Store
	why error
}

func (s *failingStore) Failing() error { return s.why }

func TestStoreStatus(t *testing.T) {
	memory := startNode(t, func(c *Config) { c.Records.Bytes = 1 << 20 })
	require.Equal(t, StoreStatus{Kind: StoreMemory, Limit: 1 << 20}, memory.StoreStatus())
	broken := errors.New("input/output error")
	given := startNode(t, func(c *Config) { c.Store = &failingStore{records.NewMemoryStore(), broken} })
	require.Equal(t, StoreStatus{Kind: StoreOther, Limit: records.DefaultBytes, Failing: broken}, given.StoreStatus())
	_, err := memory.Backup(t.Context(), filepath.Join(t.TempDir(), "copy"))
	require.ErrorContains(t, err, "no data directory")
}

// A node that another program has embedded is found by its data directory, where it
// keeps its key itself, and nobody else gets in.
func TestEmbeddedNodeIsFound(t *testing.T) {
	dir := t.TempDir()
	n, err := New(Config{Listen: []string{onLoopback4}, Version: "test", DataDir: dir, Durable: true})
	require.NoError(t, err)
	t.Cleanup(func() { n.Close() })
	key, err := Identity(dir)
	require.NoError(t, err)
	require.True(t, n.Host().ID().MatchesPrivateKey(key))

	r, err := datadir.RunningIn(dir)
	require.NoError(t, err)
	require.Equal(t, n.Host().ID().String(), r.PeerID)
	require.Equal(t, texts(n.LocalAddrs()), r.Addrs)
	s, err := client.New(r.Socket).Status(patient(t))
	require.NoError(t, err)
	require.Equal(t, n.ID().String(), s.NodeID)
	require.Equal(t, StoreDisk, s.Store.Kind)
	require.Empty(t, s.Problems)

	_, err = New(Config{Listen: []string{onLoopback4}, DataDir: dir})
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, n.Close())
	_, err = datadir.RunningIn(dir)
	require.ErrorIs(t, err, datadir.ErrNotRunning)
}

// A start that nobody waits for any more leaves nothing behind.
func TestStartGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	n, err := Start(ctx, Config{Listen: []string{onLoopback4}, DataDir: dir, Durable: true})
	if err == nil { // it was faster
		require.NoError(t, n.Close())
	} else {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoFileExists(t, filepath.Join(dir, "running.json"))
	require.Eventually(t, func() bool {
		d, err := datadir.Use(dir)
		return err == nil && d.Close() == nil
	}, 2*patience, tick, "it ends by itself")
}

// Without its key a directory is refused as it is.
func TestLostKey(t *testing.T) {
	dir := t.TempDir()
	n, err := New(Config{Listen: []string{onLoopback4}, DataDir: dir, Durable: true})
	require.NoError(t, err)
	id := n.ID()
	require.NoError(t, n.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "identity.key")))
	for name, cfg := range map[string]Config{"durable": {Durable: true}, "in memory": {}} {
		cfg.Listen, cfg.DataDir = []string{onLoopback4}, dir
		_, err = New(cfg)
		require.ErrorIs(t, err, ErrKeyMissing, name)
		require.ErrorContains(t, err, id.String())
		require.NoFileExists(t, filepath.Join(dir, "identity.key"))
	}
}
