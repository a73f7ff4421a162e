package node

import (
	"cmp"

	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
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

// openRecords opens the store, and what keeps the rules above it.
func (n *Node) openRecords() (err error) {
	opts := []records.Option{records.WithLimits(n.cfg.Records)}
	if n.cfg.Store != nil {
		opts = append(opts, records.WithStore(n.cfg.Store))
	}
	n.records, err = records.New(opts...)
	return err
}

// Store returns how the store of the records is.
func (n *Node) Store() StoreStatus {
	s := StoreStatus{Kind: StoreMemory, Limit: cmp.Or(n.cfg.Records.Bytes, records.DefaultBytes)}
	if n.cfg.Store != nil {
		s.Kind = StoreOther
	}
	return s
}

// checkpointer is the store where it can be copied, else nil.
func (n *Node) checkpointer() backup.Checkpointer {
	c, _ := n.cfg.Store.(backup.Checkpointer)
	return c
}
