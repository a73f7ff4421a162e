package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/macula-mesh/macula-node/node/backup"
	"github.com/macula-mesh/macula-node/protocols/maculadht/proto"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
)

// Backup copies what the node keeps in its data directory, its records as they are
// now, to dir, which must not exist; see backup.Make. A node runs on the copy as on
// the data directory, and it is as much of a secret. Close ends it and waits until what
// was copied is cleared away; from then on the error is a proto.ErrClosed.
func (n *Node) Backup(ctx context.Context, dir string) (backup.Made, error) {
	if n.cfg.DataDir == "" {
		return backup.Made{}, fmt.Errorf("%w: this node has no data directory", backup.ErrNothing)
	}
	if !n.begin() {
		return backup.Made{}, proto.ErrClosed
	}
	defer n.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	return backup.Make(ctx, n.cfg.DataDir, n.checkpointer(), dir)
}

// BackupOf is Node.Backup of a data directory on which no node runs; see to it that
// none starts meanwhile.
func BackupOf(ctx context.Context, dataDir, dir string) (made backup.Made, err error) {
	owner, err := pebble.OwnerOf(storeDir(dataDir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return backup.Make(ctx, dataDir, nil, dir)
	case err != nil:
		return made, err
	}
	store, err := pebble.Open(storeDir(dataDir), owner)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return backup.Make(ctx, dataDir, store, dir)
}
