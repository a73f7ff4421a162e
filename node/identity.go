package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node/credentials"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records/pebble"
)

// ErrInUse: another node runs on the data directory; with it is which one.
var ErrInUse = datadir.ErrInUse

// ErrKeyMissing: a data directory has the store of a node, and not its key.
var ErrKeyMissing = errors.New("the identity key is missing")

// Identity returns the key that is kept in a data directory, made at the first start.
// Where the directory has a store, which is another node's than any that a new key would
// make, the error is an ErrKeyMissing and nothing is made.
func Identity(dataDir string) (crypto.PrivKey, error) {
	key, err := credentials.LoadKey(dataDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	store := storeDir(dataDir)
	held, err := os.ReadDir(store)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("look for a store beside the identity key: %w", err)
	case len(held) > 0:
		whose := ""
		if owner, err := pebble.OwnerOf(store); err == nil {
			whose = fmt.Sprintf(" of the node %x", owner.NodeID)
		}
		return nil, fmt.Errorf("%w: there is no %s, but a store%s in %s: put the key back from a backup, or move the store away to begin anew as another node",
			ErrKeyMissing, filepath.Join(dataDir, credentials.KeyFile), whose, store)
	}
	return credentials.LoadOrCreateKey(dataDir)
}

// settleIn looks at the data directory, and has the key that is kept there.
func (n *Node) settleIn() (err error) {
	if dir := n.cfg.DataDir; dir != "" {
		log := n.cfg.log("node")
		if n.cfg.Durable {
			if err := datadir.CheckWritable(dir); err != nil {
				return err
			}
		}
		if n.cfg.Key == nil {
			if n.cfg.Key, err = Identity(dir); err != nil {
				return err
			}
			n.cfg.passOverItself()
			if err := n.cfg.checkAnnounced(); err != nil {
				return err
			}
		}
		for _, warning := range credentials.DataDirWarnings(dir) {
			log.Warn(warning)
		}
		if held, err := os.ReadDir(storeDir(dir)); err == nil && len(held) > 0 && !n.cfg.Durable {
			n.unread = storeDir(dir)
			log.Warn("the store in the data directory is left as it is and is not read: this node keeps its records in memory, and they are gone at its end", "store", n.unread)
		}
	}
	return nil
}
