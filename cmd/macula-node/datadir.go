package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/node"
)

func dataDirFlag() cli.Flag {
	return &cli.StringFlag{
		Name:    "data-dir",
		Usage:   "`DIR` of a node's identity key and TLS certificate, made at its first start; one node runs on it at a time",
		Value:   defaultDataDir(),
		Sources: variables("MACULA_DATA_DIR"),
	}
}

// defaultDataDir returns nothing where the user has no home.
func defaultDataDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".macula-node")
}

func dataDir(cmd *cli.Command) (string, error) {
	switch dir := cmd.String("data-dir"); {
	case dir != "":
		return dir, nil
	case cmd.IsSet("data-dir"):
		return "", usagef("--data-dir (MACULA_DATA_DIR) is empty: write the directory of the node's identity key")
	default:
		return "", usagef("there is no home directory (HOME is not set) to keep the node's identity key in: set --data-dir (MACULA_DATA_DIR)")
	}
}

// identityKey returns the key of the data directory, made if there is none yet.
func identityKey(cmd *cli.Command) (crypto.PrivKey, error) {
	dir, err := dataDir(cmd)
	if err != nil {
		return nil, err
	}
	key, err := node.LoadOrCreateKey(dir)
	if err != nil {
		return nil, usageError{err}
	}
	return key, nil
}

// occupation is a data directory that this process runs a node on.
type occupation struct {
	*datadir.Dir
	says datadir.Running
}

// occupy locks the data directory and says that a node starts there.
func occupy(dir string) (*occupation, error) {
	used, err := datadir.Use(dir)
	if err != nil {
		return nil, usageError{err}
	}
	log := logs.Logger("node")
	if why := used.Unlocked(); why != "" {
		log.Warn("the data directory can not be locked: see to it that no second node runs on it", "dir", dir, "err", why)
	}
	if last := used.Last(); last != nil {
		log.Warn("the last node on this data directory was ended without a stop", "dir", dir, "pid", last.PID, "started", last.Started)
	}
	o := &occupation{used, datadir.Running{PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second)}}
	o.publish()
	return o, nil
}

// publish says who runs here. A directory that is not writable keeps no node from
// running.
func (o *occupation) publish() {
	if err := o.Publish(o.says); err != nil {
		logs.Logger("node").Warn("the commands will not find this node by its data directory", "err", err)
	}
}

// serves says where the node is reached.
func (o *occupation) serves(n *node.Node, bootstrap []string) {
	o.says.PeerID, o.says.Realm = n.Host().ID().String(), n.Realm()
	o.says.Endpoint = pinned(n.LocalEndpoint())
	o.says.Addrs = texts(n.LocalAddrs())
	for _, text := range bootstrap {
		if entry, err := node.ParseBootstrap(text); err == nil && entry.Peer != nil && entry.Peer.ID != n.Host().ID() {
			o.says.Bootstrap = append(o.says.Bootstrap, text)
		}
	}
	o.publish()
}

// runningNode returns what the node of the command's data directory says. What else
// could be written is said in errors.
func runningNode(cmd *cli.Command, instead string) (*datadir.Running, error) {
	dir, err := dataDir(cmd)
	if err != nil {
		return nil, err
	}
	r, err := datadir.RunningIn(dir)
	switch {
	case errors.Is(err, datadir.ErrNotRunning) && errors.Is(err, fs.ErrNotExist): // whom to ask was left out by mistake
		return nil, usagef("%w: start one with macula-node run, or name one with %s; %s", err, instead, usageOf(cmd))
	case errors.Is(err, datadir.ErrNotRunning):
		return nil, fmt.Errorf("%w: start it again with macula-node run, or name another with %s; %s", err, instead, usageOf(cmd))
	}
	return r, err
}
