package pubsub

import (
	"context"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/maculadht/provider"
	"github.com/macula-mesh/macula-node/protocols/maculadht/records"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/backlog"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/interest"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/names"
)

// topic is what is remembered of a topic: who gets what is published under it.
type topic struct {
	topics *Topics
	name   string
	names  []*interest.Interest // under which its subscribers stand

	mu      sync.Mutex
	version uint64 // of the patterns that here goes by
	checked time.Time
	here    []*subscriber
	stored  []recorded      // who is connected here and has said by a record alone that it has subscribed
	away    []interest.Node // who is to be sent it

	asked   time.Time           // when wants was emptied
	wants   map[fair.Payer]bool // who has published since then: false where what that one wants looked up gave way
	unknown int                 // names of which it is not known yet who has subscribed
	waiting backlog.Held[*message]
}

// recorded is a client that has a record under a topic's key, and has not subscribed on its
// stream.
type recorded struct {
	who    string
	nodeID []byte
}

func (t *Topics) newTopic(name string) *topic {
	c := &topic{topics: t, name: name, wants: make(map[fair.Payer]bool)}
	for _, name := range names.AskedFor(name) {
		c.names = append(c.names, t.interests.Of(name))
	}
	return c
}

// publish delivers a message here, and sends it to others where it was published here, as far
// as the budget of who brought it allows for the copies.
func (c *topic) publish(m *message, elsewhere bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if elsewhere {
		c.ask(m.by, now)
	}
	if c.version != c.topics.version.Load() || now.Sub(c.checked) >= interest.CheckEvery {
		c.look(now)
	}
	if !c.charge(m, len(c.here)+len(c.stored)) {
		return
	}
	delivered := 0
	for _, s := range c.here {
		if s.deliver(m) {
			delivered++
		}
	}
	for _, r := range c.stored {
		if p, ok := c.topics.service.Handlers().Mux().Clients().Get(r.nodeID); ok && nodeName(p, string(r.nodeID)) == r.who && p.Push(m.publish) == nil {
			delivered++
		}
	}
	c.topics.count.delivered.Add(uint64(delivered))
	c.topics.cfg.tracer.Delivered(delivered)
	switch {
	case !elsewhere:
	case c.unknown == 0:
		c.send(m)
	case c.wants[m.by]:
		c.topics.dropped(DropSlow, c.topics.held.Add(&c.waiting, m.by, m, m.size()))
	default:
		c.sendUnasked(m)
	}
}

// ask has it looked up who has subscribed elsewhere, for who publishes: each wants it of its
// own, so that it does not wait for the turn of another; c.mu is held.
func (c *topic) ask(by fair.Payer, now time.Time) {
	switch {
	case c.asked.IsZero():
		for _, name := range c.names {
			if name.Await(c) {
				c.unknown++
			}
		}
		fallthrough
	case now.Sub(c.asked) >= interest.CheckEvery:
		c.asked = now
		clear(c.wants)
	}
	if _, does := c.wants[by]; does {
		return
	}
	c.wants[by] = true
	for _, name := range c.names {
		name.Want(now, by)
	}
}

// isNew reports whether it has others asked who has subscribed, where somebody publishes.
func (c *topic) isNew() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked.IsZero()
}

// send hands a message to those who have to be sent it, where its sender's budget allows
// for that; c.mu is held.
func (c *topic) send(m *message) {
	if !c.charge(m, len(c.away)) {
		return
	}
	for i := range c.away {
		c.topics.senders.send(&c.away[i], m)
	}
}

// charge charges so many copies of a message to who brought it, and reports whether they may
// go.
func (c *topic) charge(m *message, copies int) bool {
	if m.charge == nil || m.charge(m.cost(copies)) {
		return true
	}
	c.topics.dropped(DropBusy, 1)
	return false
}

// sendUnasked hands a message to those who are known, as it is not looked up for its
// publisher who else there is; c.mu is held.
func (c *topic) sendUnasked(m *message) {
	c.send(m)
	c.topics.dropped(DropUnasked, 1)
}

// look looks who gets what is published, by all that is known; c.mu is held.
func (c *topic) look(now time.Time) {
	c.checked = now
	var nodes map[string]*subscriber
	c.here, nodes, c.version = c.topics.fitting(c.name)
	c.findStored(nodes)
	c.away = c.away[:0]
	for _, name := range c.names {
		c.away = interest.AddNodes(c.away, name.Nodes(now))
	}
	c.away = c.without(c.stored)
}

// Known implements [interest.Waiter].
func (c *topic) Known() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unknown--; c.unknown > 0 {
		return
	}
	c.look(time.Now())
	for _, m := range c.topics.held.Release(&c.waiting) {
		c.send(m)
	}
}

// GaveWay implements [interest.Waiter]: what that one has published waits no longer.
func (c *topic) GaveWay(by fair.Payer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, wants := c.wants[by]; wants {
		c.wants[by] = false
	}
	waiting := c.topics.held.ReleaseOf(&c.waiting, by)
	if len(waiting) > 0 {
		c.look(time.Now())
	}
	for _, m := range waiting {
		c.sendUnasked(m)
	}
}

// findStored looks for clients that have only a record that they stored here themselves,
// be it before this node was started again: they do not subscribe again. c.mu is held.
func (c *topic) findStored(subscribed map[string]*subscriber) {
	c.stored = c.stored[:0]
	clients := c.topics.service.Handlers().Mux().Clients()
	all, _ := c.topics.service.Routing().Records().Values(context.Background(), provider.Key(c.name)) // a store that can not be read has none
	for i := range all {
		r := &all[i]
		p, ok := clients.Get(r.NodeID)
		if !ok || !isOwnRecord(r, p) {
			continue
		}
		who := nodeName(p, string(r.NodeID))
		if subscribed[who] == nil && !c.topics.isMuted(who, c.name) {
			c.stored = append(c.stored, recorded{who, r.NodeID})
		}
	}
}

// isOwnRecord reports whether a record that names the node of a stream is from that node:
// proved to be a libp2p peer's, or stored here by the client itself, from the address that
// it is connected from. Anybody may store a record that names it.
func isOwnRecord(r *records.Record, p *server.Peer) bool {
	if p.Session().Peer != "" {
		return r.Owned
	}
	return r.Direct && r.Source.Name == p.Session().Source()
}

// without returns who is to be sent a message beside those who get it on their streams.
func (c *topic) without(stored []recorded) []interest.Node {
	for _, r := range stored {
		for i := range c.away {
			if string(c.away[i].ID) == string(r.nodeID) {
				c.away = append(c.away[:i], c.away[i+1:]...)
				break
			}
		}
	}
	if wire.IsPublicTopic(c.name) {
		return c.away
	}
	peers := c.away[:0]
	for _, n := range c.away {
		if n.Peer.ID != "" { // an Erlang gateway does not pass others on
			peers = append(peers, n)
		}
	}
	return peers
}
