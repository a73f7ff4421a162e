package node

import (
	"context"
	"errors"

	"github.com/macula-mesh/macula-node/node/backup"
)

// Backup copies what the node keeps in its data directory, its records as they are
// now, to dir, which must not exist; see backup.Make. A node runs on the copy as on
// the data directory, which it is a secret as.
func (n *Node) Backup(ctx context.Context, dir string) (backup.Made, error) {
	if n.cfg.DataDir == "" {
		return backup.Made{}, errors.New("this node keeps nothing on the disk: there is nothing to back up")
	}
	return backup.Make(ctx, n.cfg.DataDir, n.checkpointer(), dir)
}

// BackupOf is Node.Backup of a data directory on which no node runs; see to it that
// none starts meanwhile.
func BackupOf(ctx context.Context, dataDir, dir string) (backup.Made, error) {
	return backup.Make(ctx, dataDir, nil, dir)
}
