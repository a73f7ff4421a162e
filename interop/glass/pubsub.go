package glass

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/macula-mesh/macula-node/compat/wire"
)

// clients is what the gateway process knows of those who CONNECTed, and of what
// is subscribed and offered at the gateway itself; guarded by Gateway.mu.
type clients struct {
	streams  map[string]*stream // per node id the newest, the MessagePack of it
	patterns map[*stream][]string
	own      []string // its own subscriptions
	topics   map[string]topicRecords
	offers   map[string]func(args []byte) Outcome // per procedure
	got      []Publication
}

// topicRecords are the records of a topic, as they were when it asked.
type topicRecords struct {
	when   time.Time
	values []wire.Raw
}

// forgetClients is what a crash of the gateway process does; g.mu is held.
func (g *Gateway) forgetClients() {
	got := g.got
	g.clients = clients{
		streams:  make(map[string]*stream),
		patterns: make(map[*stream][]string),
		topics:   make(map[string]topicRecords),
		offers:   make(map[string]func([]byte) Outcome),
		got:      got,
	}
	g.mesh = make(map[string]*pooled)
}

// Publication is what a PUBLISH carries.
type Publication struct {
	Topic   string
	Payload wire.Raw // a bin, of JSON text where a client published it; any value where a gateway itself did
	QoS     int64
	Retain  bool
}

func (p Publication) frame(id wire.Raw) []byte { return frame(wire.TypePublish, p.fields(id)...) }

func (p Publication) fields(id wire.Raw) []wire.Pair {
	return []wire.Pair{
		{Key: "topic", Value: wire.RawText(p.Topic)},
		{Key: "payload", Value: p.Payload},
		{Key: "qos", Value: wire.RawInt(p.QoS)},
		{Key: "retain", Value: boolean(p.Retain)},
		{Key: "message_id", Value: id},
	}
}

func publicationOf(m wire.Raw) (p Publication) {
	topic, _ := field(m, "topic")
	p.Topic = contentOf(topic)
	p.Payload, _ = field(m, "payload")
	qos, _ := field(m, "qos")
	p.QoS, _ = qos.Int()
	retain, _ := field(m, "retain")
	p.Retain, _ = retain.Bool()
	return p
}

// topicKey is where the records of a topic are.
func topicKey(topic string) []byte { sum := sha256.Sum256([]byte(topic)); return sum[:] }

// subscribe adds the topics that are bin. The turn is held.
func (g *Gateway) subscribe(s *stream, m wire.Raw) {
	topics, there := field(m, "topics")
	elems, isList := listOf(topics)
	if there && !isList {
		g.crashGatewayNow(CauseTopics, topics.Kind().String())
		return
	}
	for _, elem := range elems {
		if topic := contentOf(elem); topic != "" {
			g.mu.Lock()
			g.patterns[s] = append(g.patterns[s], topic)
			g.mu.Unlock()
			g.announce(topic)
		}
	}
}

// unsubscribe takes topics off. The records in the DHT stay. g.mu is held.
func (g *Gateway) unsubscribe(s *stream, m wire.Raw) {
	topics, _ := field(m, "topics")
	elems, _ := listOf(topics)
	for _, elem := range elems {
		g.patterns[s] = slices.DeleteFunc(g.patterns[s], func(p string) bool { return isText(elem, p) })
	}
}

// announce subscribes a gateway in its own name: it stores its record, also at
// all the nodes that it knows.
func (g *Gateway) announce(topic string) {
	record := g.record(g.cfg.nodeID, g.Endpoint())
	g.Store(topicKey(topic), record)
	g.spawn(func() { g.Propagate(g.ctx, topicKey(topic), record) })
}

// record is what is stored for who subscribes.
func (g *Gateway) record(id []byte, endpoint string, more ...wire.Pair) wire.Raw {
	return wire.RawMap(append(more,
		wire.Pair{Key: "node_id", Value: wire.RawBytes(id)},
		wire.Pair{Key: "endpoint", Value: wire.RawText(endpoint)},
		wire.Pair{Key: "ttl", Value: wire.RawInt(int64(g.cfg.ttl / time.Second))})...)
}

// Subscribe subscribes at the gateway itself, as macula:connect_local does.
// [Gateway.Got] tells what comes.
func (g *Gateway) Subscribe(topic string) {
	g.mu.Lock()
	g.own = append(g.own, topic)
	g.mu.Unlock()
	g.announce(topic)
}

// Got returns what came for its own subscriptions.
func (g *Gateway) Got() []Publication {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.got)
}

// Publish publishes at the gateway itself, as macula:connect_local does. It
// waits for its turn.
func (g *Gateway) Publish(p Publication) {
	if !g.turn.take(g.ctx) {
		return
	}
	defer g.turn.give()
	g.publish(wire.RawMap(p.fields(id16())...))
}

// publish hands a PUBLISH to those who subscribed here, as it came, and then to
// those whom the DHT knows. The turn is held, g.mu is not.
func (g *Gateway) publish(m wire.Raw) {
	if !g.needAll(wire.TypePublish, m, "topic", "payload") {
		return
	}
	if topic, _ := field(m, "topic"); topic.Kind() != wire.Bin {
		g.crashGatewayNow(CausePublishTopic, topic.Kind().String())
		return
	}
	p := publicationOf(m)
	if to := g.subscribers(p); len(to) > 0 {
		if !g.needAll(wire.TypePublish, m, "qos", "retain", "message_id") {
			return
		}
		g.send(again(wire.TypePublish, m), to...)
	}
	g.publishByRecords(p)
}

// subscribers returns the streams with a pattern that fits, each once, and notes
// it for the gateway's own.
func (g *Gateway) subscribers(p Publication) (to []*stream) {
	fits := func(pattern string) bool { return matches(pattern, p.Topic) }
	g.mu.Lock()
	defer g.mu.Unlock()
	for s, patterns := range g.patterns {
		if slices.ContainsFunc(patterns, fits) {
			to = append(to, s)
		}
	}
	if slices.ContainsFunc(g.own, fits) {
		note(&g.got, p)
	}
	return to
}

// send writes a frame to streams. Those that are gone are not told from the
// others, and stay subscribed.
func (g *Gateway) send(b []byte, to ...*stream) {
	for _, s := range to {
		s.Write(b)
	}
}

// matches reports whether a topic fits a pattern: "*" is one segment, "**" none
// or more.
func matches(pattern, topic string) bool {
	return matchSegments(strings.Split(pattern, "."), strings.Split(topic, "."))
}

func matchSegments(pattern, topic []string) bool {
	switch {
	case len(pattern) == 0:
		return len(topic) == 0
	case pattern[0] == "**":
		return matchSegments(pattern[1:], topic) || len(topic) > 0 && matchSegments(pattern, topic[1:])
	case len(topic) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == topic[0]) && matchSegments(pattern[1:], topic[1:])
}

// isPublic reports whether what is published may go to whoever subscribed in
// the DHT.
func isPublic(topic string) bool {
	return strings.HasPrefix(topic, "public.") || strings.Contains(topic, ".public.")
}

// publishByRecords hands a publication to those whom the records of exactly its
// topic name. Who has subscribed here gets it once more, under another id.
func (g *Gateway) publishByRecords(p Publication) {
	records, ok := g.topicRecords(p.Topic)
	if !ok {
		return
	}
	for _, record := range records {
		id, endpoint, ok := g.readTopicRecord(record)
		switch {
		case !ok:
			return // it crashed
		case id == nil || contentOf(id) == string(g.cfg.nodeID):
			continue
		case !isPublic(p.Topic):
			g.mu.Lock()
			g.stats.Denied++
			g.mu.Unlock()
			continue
		}
		p := p
		p.Retain = false
		if s := g.client(id); s != nil {
			g.send(p.frame(id16()), s)
			continue
		}
		g.routeTo(contentOf(id), contentOf(endpoint), wire.TypePubSubRoute, g.pubSubRouteOf(id, p))
	}
}

// topicRecords returns the records of a topic, from memory where it asked for
// them a moment ago. A miss has it ask all its peers. It reports whether the
// gateway has not crashed by it.
func (g *Gateway) topicRecords(topic string) ([]wire.Raw, bool) {
	g.mu.Lock()
	known, asked := g.topics[topic]
	g.mu.Unlock()
	age := time.Since(known.when)
	if asked && (age < topicEvery || len(known.values) > 0 && age < topicFresh) {
		return known.values, true
	}
	values, ok := g.find(wire.RawBytes(topicKey(topic)))
	if ok {
		g.mu.Lock()
		g.topics[topic] = topicRecords{time.Now(), values}
		g.mu.Unlock()
	}
	return values, ok
}

// client returns the newest stream of a node, nil if it has none.
func (g *Gateway) client(id wire.Raw) *stream {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.streams[string(erlangForm(id))]
}

func (g *Gateway) pubSubRouteOf(to wire.Raw, p Publication) wire.Raw {
	return wire.RawMap(
		wire.Pair{Key: "destination_node_id", Value: to},
		wire.Pair{Key: "source_node_id", Value: wire.RawBytes(g.cfg.nodeID)},
		wire.Pair{Key: "hop_count", Value: wire.RawInt(0)},
		wire.Pair{Key: "max_hops", Value: wire.RawInt(maxHops)},
		wire.Pair{Key: "topic", Value: wire.RawText(p.Topic)},
		wire.Pair{Key: "payload", Value: wire.RawMap(p.fields(id16())...)})
}

const maxHops = 10

// pubSubRoute delivers what is for this gateway, and never routes it on from
// there. The turn is held, g.mu is not.
func (g *Gateway) pubSubRoute(m wire.Raw) {
	if !g.needAll(wire.TypePubSubRoute, m, "destination_node_id", "source_node_id", "hop_count", "max_hops", "payload") {
		return
	}
	if g.forwarded(wire.TypePubSubRoute, m) {
		return
	}
	payload, _ := field(m, "payload")
	if !g.needAll(wire.TypePublish, payload, "topic", "payload") {
		return
	}
	p := publicationOf(payload)
	p.Retain = false
	g.send(p.frame(id16()), g.subscribers(p)...)
}

// forwarded reports whether a routed message is not for this gateway, after it
// has passed it on to the node that is nearest to its destination. That works
// only for those that it bootstrapped from: the address of who CONNECTed is an
// URL, which is not understood as one.
func (g *Gateway) forwarded(t wire.Type, m wire.Raw) bool {
	hops, limit := intOf(m, "hop_count"), intOf(m, "max_hops")
	to, _ := field(m, "destination_node_id")
	switch {
	case hops >= limit:
		g.unrouted()
		return true
	case contentOf(to) == string(g.cfg.nodeID):
		return false
	}
	g.toNearest(to, t, with(m, wire.Pair{Key: "hop_count", Value: wire.RawInt(hops + 1)}))
	return true
}

func intOf(m wire.Raw, name string) int64 {
	v, _ := field(m, name)
	i, _ := v.Int()
	return i
}

func (g *Gateway) unrouted() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Unrouted++
}

// toNearest sends a message to the node nearest to a destination, if it has an
// address that is understood.
func (g *Gateway) toNearest(to wire.Raw, t wire.Type, m wire.Raw) {
	g.mu.Lock()
	near := g.nearest(to)
	g.mu.Unlock()
	if len(near) == 0 || near[0].guest != nil {
		g.unrouted()
		return
	}
	g.routeTo("nearest "+near[0].endpoint, near[0].endpoint, t, m)
}

// routeTo sends a message on the connection that is kept for a node. One that
// can not be reached loses it.
func (g *Gateway) routeTo(name, endpoint string, t wire.Type, m wire.Raw) {
	p := g.pooledTo(&g.mesh, name)
	g.spawn(func() {
		ctx, cancel := context.WithTimeout(g.ctx, g.cfg.peerTimeout)
		defer cancel()
		if err := g.passOn(ctx, p, endpoint, again(t, m)); err != nil {
			g.unrouted()
		}
	})
}
