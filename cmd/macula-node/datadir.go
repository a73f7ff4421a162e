package main

import (
	"fmt"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/urfave/cli/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/flags"
	"github.com/macula-mesh/macula-node/compat/dialer/identity"
	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/node"
	"github.com/macula-mesh/macula-node/node/credentials"
)

// identityKey returns the key of the data directory, made if there is none yet.
func identityKey(cmd *cli.Command) (crypto.PrivKey, error) {
	dir, err := flags.DataDirOf(cmd)
	if err != nil {
		return nil, err
	}
	key, err := credentials.LoadOrCreateKey(dir)
	if err != nil {
		return nil, flags.Usage(err)
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
		return nil, flags.Usage(err)
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

func texts[T fmt.Stringer](all []T) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = v.String()
	}
	return out
}

// pinned writes an endpoint with its pin, as identity.ParsePinnedEndpoint reads it.
func pinned(e identity.PinnedEndpoint) string {
	if e.Pin.IsZero() {
		return e.String()
	}
	return e.String() + "#" + e.Pin.String()
}
