package node

import (
	"cmp"
	"fmt"
	"path/filepath"

	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/node/internal/backend"
	"github.com/macula-mesh/macula-node/protocols/maculadht"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
	"github.com/macula-mesh/macula-node/protocols/maculadht/routing"
)

// Kinds of stores.
const (
	StoreMemory = "memory" // gone with the process
	StoreDisk   = "disk"   // in the data directory
	StoreOther  = "other"  // that of Config.Store
)

// StoreStatus is how the store of a node's records is.
type StoreStatus struct {
	Kind string // StoreMemory, StoreDisk or StoreOther
	Dir  string // where its files are, of a StoreDisk
	// Limit is what all records may cost together, as Config.Records says.
	Limit int64
	// DiskBytes is what the files of a StoreDisk have, and DiskLimit what they may.
	DiskBytes, DiskLimit int64
	// Failing is why nothing new is acknowledged; nil where it is.
	Failing error
}

// StoreStatus returns how the store of the records is.
func (n *Node) StoreStatus() StoreStatus {
	s := StoreStatus{Kind: StoreMemory, Limit: cmp.Or(n.cfg.Records.Bytes, records.DefaultBytes), Failing: n.records.Failing()}
	switch {
	case n.disk != nil:
		s.Kind, s.Dir = StoreDisk, storeDir(n.cfg.DataDir)
		s.DiskBytes, s.DiskLimit = n.disk.Status().DiskBytes, cmp.Or(n.cfg.DiskBytes, pebble.DefaultMaxBytes)
	case n.cfg.Store != nil:
		s.Kind = StoreOther
	}
	return s
}

// storeDir is where the records of a data directory are.
func storeDir(dataDir string) string { return filepath.Join(dataDir, backup.StoreDir) }

// openRecords opens the store, and what keeps the rules above it.
func (n *Node) openRecords() (opts []maculadht.Option, err error) {
	store := n.cfg.Store
	if n.cfg.Durable {
		if n.disk, err = n.openDisk(); err != nil {
			return nil, err
		}
		store, opts = n.disk, append(opts, maculadht.WithState(n.disk.State()))
	}
	if store == nil {
		store = records.NewMemoryStore()
	}
	n.stored = backend.Remember(store)
	with := []records.Option{records.WithLimits(n.cfg.Records), records.WithMetricsTracer(n.metrics.Records), records.WithStore(n.stored)}
	if n.records, err = records.New(with...); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	return append(opts, maculadht.WithRouting(routing.WithRecords(n.records))), nil
}

// openDisk opens the store in the data directory.
func (n *Node) openDisk() (*pebble.Store, error) {
	dir := storeDir(n.cfg.DataDir)
	if err := datadir.MakePrivate(dir); err != nil {
		return nil, fmt.Errorf("make the directory of the records: %w", err)
	}
	opts := []pebble.Option{pebble.WithLogger(n.cfg.log("store")), pebble.WithMetricsTracer(n.metrics.Disk)}
	if n.cfg.DiskBytes != 0 {
		opts = append(opts, pebble.WithMaxBytes(n.cfg.DiskBytes))
	}
	return pebble.Open(dir, n.owner(), opts...)
}

// owner is whose the store in the data directory is.
func (n *Node) owner() pebble.Owner {
	id := routing.IDFromPeer(n.host.ID())
	return pebble.Owner{Realm: n.cfg.Realm, NodeID: id[:]}
}

// closeRecords closes the records, and with them the store. One that holds nothing goes with
// a node that is abandoned.
func (n *Node) closeRecords() (err error) {
	switch {
	case n.records != nil:
		err = n.records.Close()
	case n.disk != nil:
		err = n.disk.Close()
	}
	if err == nil && n.disk != nil && n.abandoned.Load() {
		err = pebble.RemoveUnused(storeDir(n.cfg.DataDir), n.owner(), pebble.WithLogger(n.cfg.log("store")))
	}
	return err
}

// checkpointer is the store where it can be copied, else nil.
func (n *Node) checkpointer() backup.Checkpointer {
	if n.disk != nil {
		return n.disk
	}
	if n.unread != "" {
		return standing(n.unread)
	}
	c, _ := n.cfg.Store.(backup.Checkpointer)
	return c
}
