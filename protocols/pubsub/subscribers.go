package pubsub

import (
	"strings"

	"github.com/macula-mesh/macula-node/protocols/maculadht/server"
	"github.com/macula-mesh/macula-node/protocols/pubsub/internal/announce"
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

// subscribers are those of this node; guarded by Topics.mu.
func (t *Topics) enter(pattern string, s *subscriber) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed || t.subscriptions >= t.cfg.limits.Subscriptions:
		return false
	case isKeyTopic(pattern):
		t.addToKey(pattern, s)
	case !t.patterns.Add(pattern, s):
		return false
	}
	t.subscriptions++
	t.version.Add(1)
	return true
}

func (t *Topics) leave(pattern string, s *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if isKeyTopic(pattern) && t.removeFromKey(pattern, s) || t.patterns.Remove(pattern, s) {
		t.subscriptions--
		t.version.Add(1)
	}
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
	patterns   map[string]*announce.Wanted // what of each is told to others; nil for nothing
	muted      map[string]struct{}         // topics that it has UNSUBSCRIBEd
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
	c := &client{topics: t, peer: p, patterns: make(map[string]*announce.Wanted), muted: make(map[string]struct{})}
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
	if _, has := c.patterns[pattern]; has {
		return true
	}
	c.unmute(pattern)
	cost := costOf(pattern)
	if !c.hasRoom() || !c.peer.Hold(cost) {
		return false
	}
	if !c.topics.enter(pattern, c.subscriber) {
		c.peer.LetGo(cost)
		return false
	}
	c.patterns[pattern] = c.topics.tell(pattern, c.peer.Session().String())
	return true
}

func (c *client) hasRoom() bool {
	return len(c.patterns)+len(c.muted) < c.topics.cfg.limits.SubscriptionsPerPeer
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
	told, has := c.patterns[pattern]
	if !has {
		return
	}
	delete(c.patterns, pattern)
	c.topics.leave(pattern, c.subscriber)
	c.topics.announcer.Unwant(told)
	c.peer.LetGo(costOf(pattern))
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
	for pattern := range c.patterns {
		c.giveUp(pattern)
	}
	for pattern := range c.muted {
		c.unmute(pattern)
	}
}

// tell has others told of a subscription, on the account of its source; nil where that is
// over a limit.
func (t *Topics) tell(pattern, source string) *announce.Wanted {
	if isKeyTopic(pattern) { // who wants to know asks the holders themselves
		return nil
	}
	w, ok := t.announcer.Want(announce.NameOf(pattern), source)
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
