package server

import (
	"slices"
	"sync"
)

// Clients are the peers that have CONNECTed on a stream that stays: whom a node
// can be sent something through. A node that CONNECTs on another connection is
// reached by that one, and by the earlier again when it ends. It is safe for
// concurrent use.
type Clients struct {
	mu     sync.RWMutex
	byNode map[string][]*Peer // by the node id as sent; the newest last
}

// maxStreamsOfNode is how many streams are kept in mind for one node id: anybody
// may CONNECT under it as often as connections and streams allow.
const maxStreamsOfNode = 8

func newClients() *Clients { return &Clients{byNode: make(map[string][]*Peer)} }

// Get returns the peer through which a node is reached; the node id is as it was
// sent.
func (c *Clients) Get(nodeID []byte) (*Peer, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	peers := c.byNode[string(nodeID)]
	if len(peers) == 0 {
		return nil, false
	}
	return peers[len(peers)-1], true
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
	if again {
		c.remove(p)
	}
	id := string(nodeID)
	p.client = &id
	c.byNode[id] = append(c.byNode[id], p)
	if of := c.byNode[id]; len(of) > maxStreamsOfNode {
		c.byNode[id] = slices.Delete(of, 0, 1)
	}
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
	left := slices.DeleteFunc(c.byNode[id], func(o *Peer) bool { return o == p })
	if len(left) == 0 {
		delete(c.byNode, id)
		return
	}
	c.byNode[id] = left
}
