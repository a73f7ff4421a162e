package node

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// closeTimeout is how long Close takes at most, whatever hangs.
	closeTimeout = 4 * time.Second
	// lastChance is for what is to be closed when that time is over.
	lastChance = 100 * time.Millisecond
)

// ErrNotClosed means that a part of the node had not come to an end when Close returned,
// as its disk or something else hangs. It goes on ending in the background.
var ErrNotClosed = errors.New("has not come to an end in time")

// closing is what Close waits for.
type closing struct {
	mu   sync.Mutex
	part string
}

func (c *closing) at(part string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.part = part
}

// Closing names the part of the node that Close waits for at the moment; nothing where
// it does not.
func (n *Node) Closing() string {
	n.closing.mu.Lock()
	defer n.closing.mu.Unlock()
	return n.closing.part
}

// Close stops the node: first what peers come in by, then what that asks, last the host.
// It takes 4 s or little more, whatever hangs: for what has not ended by then the error
// is an ErrNotClosed. Further calls return what the first did.
func (n *Node) Close() error { return n.close() }

// Abandon is Close of a node that is not what its operator meant to run, as where
// OtherRealm says so: a store in the data directory that holds nothing is removed, which
// would be bound to this node's realm else.
func (n *Node) Abandon() error {
	n.abandoned.Store(true)
	return n.Close()
}

// part is one that is closed after the one before it.
type part struct {
	name  string
	close func() error
}

// parts returns what there is to be closed, in order; withdrawn waits until nobody finds
// the node any more.
func (n *Node) parts(withdrawn func() error) []part {
	all := []part{{"a backup, or the watch over the mode", func() error { n.tasks.Wait(); return nil }}}
	if n.backend != nil {
		all = append(all, part{"the watch over events", n.backend.Close})
	}
	if n.watcher != nil {
		all = append(all, part{"the watches of keys", n.watcher.Close})
	}
	if n.topics != nil { // while what they are told by is there
		all = append(all, part{"the subscriptions", n.topics.Close})
	}
	if n.uplinks != nil {
		all = append(all, part{"the sessions with gateways", func() error { n.uplinks.Close(); return nil }})
	}
	if n.gateway != nil { // before the service: it answers from what the service closes
		all = append(all, part{"what serves Erlang nodes", n.gateway.Close})
	}
	if n.calls != nil {
		all = append(all, part{"the procedures that run", n.calls.Close})
	}
	if n.service != nil {
		all = append(all, part{"the hand-over of records to others", n.service.Close})
	}
	all = append(all, part{"the store of records", n.closeRecords})
	if n.dialer != nil {
		all = append(all, part{"the dialer", n.dialer.Close})
	}
	if n.host != nil {
		all = append(all, part{"the libp2p host", n.host.Close})
	}
	if n.health != nil {
		all = append(all, part{"the probes of health", n.health.Close})
	}
	if n.metrics != nil {
		all = append(all, part{"the metrics", func() error { n.metrics.Close(); return nil }})
	}
	if n.presence != nil {
		all = append(all, part{"the local API", withdrawn}, part{"the lock of the data directory", n.presence.Close})
	}
	return all
}

// withdraw has nobody find the node in its data directory any more.
func (n *Node) withdraw() error {
	if n.presence == nil {
		return nil
	}
	return n.presence.Withdraw()
}

func (n *Node) shutdown() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.ready.Store(false)
	n.stop()
	if n.service != nil {
		n.cfg.log("node").Info("leaving the network")
	}
	defer n.closing.at("")
	gone := make(chan error, 1)
	go func() { gone <- n.withdraw() }() // what the local API has under way is ended meanwhile
	return closeAll(n.parts(func() error { return <-gone }), n.closing.at)
}

// closeAll closes the parts, one after the other as long as there is time.
func closeAll(parts []part, at func(string)) error {
	deadline := time.Now().Add(closeTimeout)
	var errs []error
	for _, p := range parts {
		at(p.name)
		ended := make(chan error, 1)
		go func() { ended <- p.close() }()
		late := time.NewTimer(max(time.Until(deadline), lastChance))
		select {
		case err := <-ended:
			errs = append(errs, err)
		case <-late.C:
			errs = append(errs, fmt.Errorf("%s %w", p.name, ErrNotClosed))
		}
		late.Stop()
	}
	return errors.Join(errs...)
}

// begin accounts for a task, unless the node is closed.
func (n *Node) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.tasks.Add(1)
	}
	return !n.closed
}
