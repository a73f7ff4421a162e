// Package presence has a node be found by its data directory: the directory is the
// node's alone, says where it is reached, and has the socket of the local API in it.
package presence

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/internal/datadir"
	"github.com/macula-mesh/macula-node/node/api"
	"github.com/macula-mesh/macula-node/node/api/door"
)

// Presence is a data directory that this process runs a node on.
type Presence struct {
	dir *datadir.Dir
	log *slog.Logger

	mu        sync.Mutex
	says      datadir.Running
	api       *api.Server // nil where there is none
	withdrawn bool
}

// Take makes a data directory, if there is none, locks it, and says that a node starts
// there. Where another process has it the error is a datadir.InUseError.
func Take(dir string, log *slog.Logger) (*Presence, error) {
	used, err := datadir.Use(dir)
	if err != nil {
		return nil, err
	}
	if why := used.Unlocked(); why != "" {
		log.Warn("the data directory can not be locked: see to it that no second node runs on it", "dir", dir, "err", why)
	}
	if last := used.Last(); last != nil {
		log.Warn("the last node on this data directory was ended without a stop", "dir", dir, "pid", last.PID, "started", last.Started)
	}
	p := &Presence{dir: used, log: log, says: datadir.Running{PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second)}}
	p.publish()
	return p, nil
}

// Started returns since when the directory is this process's.
func (p *Presence) Started() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.says.Started
}

// Path returns the directory.
func (p *Presence) Path() string { return p.dir.Path() }

// publish says who runs here; the caller holds mu, or nobody else knows p. A directory that
// is not writable keeps no node from running.
func (p *Presence) publish() {
	if err := p.dir.Publish(p.says); err != nil {
		p.log.Warn("the commands will not find this node by its data directory", "err", err)
	}
}

// Serve opens the local API for a node, and says where that is reached: at is what it
// says beside its process. A node without a local API serves all the same, unless it was to
// be reached over TCP: then the error says why it is not.
func (p *Presence) Serve(n api.Node, o api.Options, at datadir.Running) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.withdrawn {
		return nil
	}
	if last := p.dir.Last(); last != nil {
		door.RemoveLast(last.Socket)
	}
	at.PID, at.Started = p.says.PID, p.says.Started
	p.says = at
	o.DataDir, o.Log = p.dir.Path(), p.log
	var err error
	p.api, err = api.Open(n, o)
	switch {
	case err == nil:
		p.says.Socket = p.api.Path()
	case o.Address != "" && !o.Spare:
		return fmt.Errorf("open the local API: %w", err)
	default:
		p.log.Warn("no local API: status and backup will not reach this node", "err", err)
	}
	p.publish()
	return nil
}

// APIURL returns where the local API is reached over TCP; nothing where it is not.
func (p *Presence) APIURL() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.api == nil {
		return ""
	}
	return p.api.URL()
}

// Withdraw has nobody find the node any more: it takes back what was said, ends what the
// local API has under way, as api.Server.Close does, and waits for that.
func (p *Presence) Withdraw() error {
	p.mu.Lock()
	p.withdrawn = true
	err, server := p.dir.Withdraw(), p.api
	p.api = nil
	p.mu.Unlock()
	if server != nil {
		err = errors.Join(err, server.Close())
	}
	return err
}

// Close unlocks the directory.
func (p *Presence) Close() error { return p.dir.Close() }
