package pubsub

import (
	"strings"

	"github.com/macula-mesh/macula-node/internal/fair"
	"github.com/macula-mesh/macula-node/protocols/internal/announce"
	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/names"
)

// subscriber is who is delivered to: a stream of a client, or a Subscription.
type subscriber struct {
	// who names the node behind it: of those that have the same a message goes to the
	// newest. Empty for one that is a node by itself.
	who  string
	age  uint64       // the later the larger
	peer *server.Peer // nil for a Subscription
	app  *Subscription
}

// deliver hands a message over, which never waits. It reports whether the message was
// taken.
func (s *subscriber) deliver(m *message) bool {
	if s.peer != nil { // which may have said another realm since it subscribed
		return hasMet(s.peer) && s.peer.Push(m.publish) == nil
	}
	return s.app.push(m)
}

// entry is a pattern that a subscriber has subscribed to.
type entry struct {
	*subscriber
	pattern string
	told    *announce.Wanted // nil where others are not told
	entered bool             // it is among those of this node; guarded by Topics.mu
	place   *fair.Item[*entry]
}

// enter takes a subscription, and reports whether it did. Of too many of others than this
// program the newest gives way of who has most.
func (t *Topics) enter(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed || e.app != nil && t.subscriptions >= t.cfg.limits.Subscriptions:
		return false
	case isKeyTopic(e.pattern):
		t.addToKey(e.pattern, e.subscriber)
	case !t.patterns.Add(e.pattern, e.subscriber):
		return false
	}
	e.entered = true
	t.version.Add(1)
	if e.app != nil {
		t.subscriptions++
		return true
	}
	e.place = t.places.Add(e.peer.Session().Payer(), e, 1)
	out := t.places.GiveWay(e.place, false)
	if out == nil {
		return true
	}
	t.remove(out.Value)
	if out.Value == e {
		return false
	}
	t.announcer.Unwant(out.Value.told)
	out.Value.peer.LetGo(costOf(out.Value.pattern))
	t.dropped(DropRefused, 1)
	return true
}

// leave ends a subscription, and reports whether there was one.
func (t *Topics) leave(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !e.entered {
		return false
	}
	if t.remove(e); e.place == nil {
		t.subscriptions--
	} else {
		t.places.Leave(e.place)
	}
	return true
}

// remove takes a subscription from those of this node; t.mu is held.
func (t *Topics) remove(e *entry) {
	if e.entered = false; isKeyTopic(e.pattern) {
		t.removeFromKey(e.pattern, e.subscriber)
	} else {
		t.patterns.Remove(e.pattern, e.subscriber)
	}
	t.version.Add(1)
}

// has reports whether a subscription is among those of this node.
func (t *Topics) has(e *entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return e.entered
}

// fitting returns who has a pattern that fits a topic, one of each node, and the version
// of the patterns that says so.
func (t *Topics) fitting(topic string) (found []*subscriber, nodes map[string]*subscriber, version uint64) {
	nodes = make(map[string]*subscriber)
	seen := make(map[*subscriber]bool)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.patterns.Match(topic, func(s *subscriber) {
		switch other := nodes[s.who]; {
		case s.who == "" && !seen[s]:
			seen[s] = true
			found = append(found, s)
		case s.who != "" && (other == nil || other.age < s.age):
			nodes[s.who] = s
		}
	})
	for _, s := range nodes {
		found = append(found, s)
	}
	return found, nodes, t.version.Load()
}

// nodeName names the node that a stream's peer is: by its own name and by whom it pays,
// as anybody may CONNECT under a name.
func nodeName(p *server.Peer, nodeID string) string { return p.Session().String() + "\x00" + nodeID }

// client is what is kept of a stream on which somebody subscribes. It is for the
// goroutine that reads the stream.
type client struct {
	topics     *Topics
	peer       *server.Peer
	subscriber *subscriber
	entries    map[string]*entry   // by pattern, with those that gave way
	muted      map[string]struct{} // topics that it has UNSUBSCRIBEd
}

// subscriptionCost is what is kept of a subscription, in bytes beside its pattern and what
// each of its segments takes.
const (
	subscriptionCost = 512
	segmentCost      = 160
)

func costOf(pattern string) int {
	return subscriptionCost + len(pattern) + segmentCost*(1+strings.Count(pattern, "."))
}

func (t *Topics) newClient(p *server.Peer) *client {
	c := &client{topics: t, peer: p, entries: make(map[string]*entry), muted: make(map[string]struct{})}
	c.subscriber = &subscriber{peer: p, age: t.ages.Add(1)}
	id, listed := t.service.Handlers().Mux().Clients().NodeID(p)
	if listed || p.Session().Peer != "" {
		c.subscriber.who = nodeName(p, id)
	}
	p.OnEnd(c.end)
	return c
}

// subscribe takes a pattern, and reports whether it did.
func (c *client) subscribe(pattern string) bool {
	if e := c.entries[pattern]; e != nil {
		if c.topics.has(e) {
			return true
		}
		delete(c.entries, pattern)
	}
	c.unmute(pattern)
	cost := costOf(pattern)
	if !c.hasRoom() || !c.peer.Hold(cost) {
		return false
	}
	e := &entry{subscriber: c.subscriber, pattern: pattern, told: c.topics.tell(pattern, c.peer.Session().Payer())}
	if !c.topics.enter(e) {
		c.topics.announcer.Unwant(e.told)
		c.peer.LetGo(cost)
		return false
	}
	c.entries[pattern] = e
	return true
}

func (c *client) hasRoom() bool {
	return len(c.entries)+len(c.muted) < c.topics.cfg.limits.SubscriptionsPerPeer
}

// unsubscribe gives a pattern up. Its record stays in the DHT, renewed by a client that
// does not know better; it says nothing from now on.
func (c *client) unsubscribe(pattern string) {
	c.giveUp(pattern)
	if _, is := c.muted[pattern]; is || c.subscriber.who == "" || !c.hasRoom() || !c.peer.Hold(costOf(pattern)) {
		return
	}
	c.muted[pattern] = struct{}{}
	c.topics.mute(c.subscriber.who, pattern, +1)
}

func (c *client) giveUp(pattern string) {
	e := c.entries[pattern]
	delete(c.entries, pattern)
	if e != nil && c.topics.leave(e) { // else it gave way
		c.topics.announcer.Unwant(e.told)
		c.peer.LetGo(costOf(pattern))
	}
}

func (c *client) unmute(pattern string) {
	if _, is := c.muted[pattern]; is {
		delete(c.muted, pattern)
		c.topics.mute(c.subscriber.who, pattern, -1)
		c.peer.LetGo(costOf(pattern))
	}
}

// end gives all up: the stream has ended.
func (c *client) end() {
	for pattern := range c.entries {
		c.giveUp(pattern)
	}
	for pattern := range c.muted {
		c.unmute(pattern)
	}
}

// tell has others told of a subscription, for who pays; nil where that is not to be.
func (t *Topics) tell(pattern string, by fair.Payer) *announce.Wanted {
	if isKeyTopic(pattern) { // who wants to know asks the holders themselves
		return nil
	}
	w, ok := t.announcer.Want(names.NameOf(pattern), by)
	if !ok {
		t.count.untold.Add(1)
	}
	return w
}

// muting is a topic that a node has UNSUBSCRIBEd.
type muting struct{ who, topic string }

// mute counts the streams of a node on which it has UNSUBSCRIBEd a topic.
func (t *Topics) mute(who, topic string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := muting{who, topic}
	if t.muted[key] += n; t.muted[key] == 0 {
		delete(t.muted, key)
	}
	t.version.Add(1)
}

func (t *Topics) isMuted(who, topic string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.muted[muting{who, topic}] > 0
}
