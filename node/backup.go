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
// now, to dir, which must not exist; see backup.Make. Where it keeps them in memory, and
// there is a store of an earlier node in the data directory, that is copied as it stands,
// and Made.Unread says so. A node runs on the copy as on
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
	made, err := backup.Make(ctx, n.cfg.DataDir, n.checkpointer(), dir)
	made.Unread = made.Records && n.unread != ""
	return made, err
}

// BackupOf is Node.Backup of a data directory on which no node runs; see to it that
// none starts meanwhile. It is only read, so it may be on a disk that is full, or that
// can only be read. Where the records can not be read the error says so, and is a
// backup.ErrRecords; backup.Make without a store copies the identity all the same.
func BackupOf(ctx context.Context, dataDir, dir string) (backup.Made, error) {
	_, err := pebble.OwnerOf(storeDir(dataDir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return backup.Make(ctx, dataDir, nil, dir)
	case err != nil:
		return backup.Made{}, fmt.Errorf("%w: %w", backup.ErrRecords, err)
	}
	return backup.Make(ctx, dataDir, standing(storeDir(dataDir)), dir)
}

// standing is the directory of a store that nobody has open.
type standing string

// Checkpoint implements backup.Checkpointer.
func (s standing) Checkpoint(ctx context.Context, dir string) error {
	err := pebble.Copy(ctx, string(s), dir)
	if errors.Is(err, pebble.ErrCorrupt) || errors.Is(err, pebble.ErrNewer) {
		return fmt.Errorf("%w; to copy the identity alone move %s away first", err, string(s))
	}
	return err
}
