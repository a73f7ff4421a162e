package server

import (
	"slices"
	"sync"
)

// Clients are the peers that have CONNECTed on a stream that stays: whom a node
// can be sent something through. A node that CONNECTs on another connection is
// reached by that one, and by the earlier again when it ends. As anybody may CONNECT
// under any id, an id is of the source that was the first to do so, until its last stream
// has ended. It is safe for concurrent use.
type Clients struct {
	mu     sync.RWMutex
	byNode map[string]*streams // by the node id as sent
}

// streams are those on which a node id was given.
type streams struct {
	source string  // whose the id is
	peers  []*Peer // the newest last
}

// maxStreamsOfNode is how many streams are kept in mind for one node id: anybody
// may CONNECT under it as often as connections and streams allow.
const maxStreamsOfNode = 8

func newClients() *Clients { return &Clients{byNode: make(map[string]*streams)} }

// newest returns the newest stream of whose the id is.
func (s *streams) newest() *Peer {
	for _, p := range slices.Backward(s.peers) {
		if p.session.Source() == s.source {
			return p
		}
	}
	return nil // as long as remove is right it is there
}

// add makes a peer the newest. Of too many the oldest of its own source goes, which is
// itself where it has no other.
func (s *streams) add(p *Peer) {
	s.peers = append(slices.DeleteFunc(s.peers, func(o *Peer) bool { return o == p }), p)
	if len(s.peers) > maxStreamsOfNode {
		i := slices.IndexFunc(s.peers, func(o *Peer) bool { return o.session.Source() == p.session.Source() })
		s.peers = slices.Delete(s.peers, i, i+1)
	}
}

// remove takes a peer away, and reports whether any is left. The id is then of whoever of
// those has given it for the longest, if it was the last of its source.
func (s *streams) remove(p *Peer) bool {
	s.peers = slices.DeleteFunc(s.peers, func(o *Peer) bool { return o == p })
	if len(s.peers) > 0 && s.newest() == nil {
		s.source = s.peers[0].session.Source()
	}
	return len(s.peers) > 0
}

// Get returns the peer through which a node is reached; the node id is as it was
// sent.
func (c *Clients) Get(nodeID []byte) (*Peer, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.byNode[string(nodeID)]
	if s == nil {
		return nil, false
	}
	return s.newest(), true
}

// NodeID returns the node id under which a peer has CONNECTed, as it was sent, and whether
// it is one of the clients: also where others of the same id are that are newer.
func (c *Clients) NodeID(p *Peer) (nodeID string, is bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if p.client == nil {
		return "", false
	}
	return *p.client, *p.client != ""
}

// Client is a node that has CONNECTed on streams that stay.
type Client struct {
	NodeID  []byte   // as it was sent
	Newest  *Session // of the stream through which it is reached
	Streams int      // on which the id was given
}

// All returns all of them, in no order.
func (c *Clients) All() []Client {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]Client, 0, len(c.byNode))
	for id, s := range c.byNode {
		all = append(all, Client{NodeID: []byte(id), Newest: s.newest().session, Streams: len(s.peers)})
	}
	return all
}

// Len returns how many nodes have CONNECTed.
func (c *Clients) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.byNode)
}

// clientCost is what an entry costs beside the node id, in bytes.
const clientCost = 512

// add lists a peer under a node id until its stream ends, in the stead of an id
// that it gave before. The entry is reserved from the peer's account: without room
// for it the peer is not listed. It is for the goroutine that reads the stream, as
// is drop.
func (c *Clients) add(nodeID []byte, p *Peer) {
	cost := clientCost + len(nodeID)
	if !p.Hold(cost) {
		c.drop(p)
		return
	}
	p.LetGo(p.listed)
	p.listed = cost
	c.mu.Lock()
	again := p.client != nil
	id := string(nodeID)
	if again && *p.client != id {
		c.remove(p)
	}
	p.client = &id
	if c.byNode[id] == nil {
		c.byNode[id] = &streams{source: p.session.Source()}
	}
	c.byNode[id].add(p)
	c.mu.Unlock()
	if !again {
		p.OnEnd(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.remove(p)
		})
	}
}

// drop takes a peer off the list, if it is there.
func (c *Clients) drop(p *Peer) {
	c.mu.Lock()
	if p.client != nil {
		c.remove(p)
		p.client = new(string) // its end is waited for already
	}
	c.mu.Unlock()
	p.LetGo(p.listed)
	p.listed = 0
}

func (c *Clients) remove(p *Peer) {
	id := *p.client
	if s := c.byNode[id]; s != nil && !s.remove(p) {
		delete(c.byNode, id)
	}
}
