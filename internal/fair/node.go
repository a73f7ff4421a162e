package fair

// node is a payer's name on one level. It is there as long as something of it waits or is
// taken, and among its parent's turns and heap as long as something waits.
type node[T any] struct {
	name     string
	parent   *node[T] // nil for the root
	children map[string]*node[T]

	weight, taken int
	heavy         []*node[T] // a heap of the children with a weight, the heaviest first
	at            int        // in the parent's heavy

	front, back *node[T] // the children with a weight, in the order of their turns
	prev, next  *node[T] // in the parent's turns

	first, last *Item[T] // of a leaf
}

func (n *node[T]) child(name string) *node[T] {
	c := n.children[name]
	if c == nil {
		c = &node[T]{name: name, parent: n}
		if n.children == nil {
			n.children = make(map[string]*node[T])
		}
		n.children[name] = c
	}
	return c
}

// turn returns the leaf whose turn it is, nil for none, where so many places are free.
func (n *node[T]) turn(free int) *node[T] {
	if free <= 0 {
		return nil
	}
	if n.first != nil {
		return n
	}
	for c := n.front; c != nil; c = c.next {
		left := min(free, keeps*free-c.taken)
		if c.taken == 0 { // who has none is never kept waiting for a place that is free
			left = max(left, 1)
		}
		if leaf := c.turn(left); leaf != nil {
			return leaf
		}
	}
	return nil
}

// keeps is how many times as many places one may have as are left free.
const keeps = 3

// weigh adds to what waits, of the node and all above it.
func (n *node[T]) weigh(by int) {
	for ; n != nil; n = n.parent {
		before := n.weight
		n.weight += by
		p := n.parent
		switch {
		case p == nil:
		case before == 0:
			n.at = len(p.heavy)
			p.heavy = append(p.heavy, n)
			p.up(n.at)
			p.enqueue(n)
		case n.weight == 0:
			p.dequeue(n)
			at, end := n.at, len(p.heavy)-1
			p.swap(at, end)
			p.heavy[end] = nil
			if p.heavy = p.heavy[:end]; at < end {
				p.down(at)
				p.up(at)
			}
		case by > 0:
			p.up(n.at)
		default:
			p.down(n.at)
		}
	}
}

func (n *node[T]) swap(i, j int) {
	h := n.heavy
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (n *node[T]) up(i int) {
	for i > 0 {
		above := (i - 1) / 2
		if n.heavy[above].weight >= n.heavy[i].weight {
			return
		}
		n.swap(i, above)
		i = above
	}
}

func (n *node[T]) down(i int) {
	for {
		below := 2*i + 1
		if below >= len(n.heavy) {
			return
		}
		if other := below + 1; other < len(n.heavy) && n.heavy[other].weight > n.heavy[below].weight {
			below = other
		}
		if n.heavy[i].weight >= n.heavy[below].weight {
			return
		}
		n.swap(i, below)
		i = below
	}
}

// enqueue gives a child the last of the turns.
func (n *node[T]) enqueue(c *node[T]) {
	c.prev, c.next = n.back, nil
	if n.back != nil {
		n.back.next = c
	} else {
		n.front = c
	}
	n.back = c
}

func (n *node[T]) dequeue(c *node[T]) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		n.front = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		n.back = c.prev
	}
	c.prev, c.next = nil, nil
}

func (n *node[T]) toBack(c *node[T]) {
	if n.back != c {
		n.dequeue(c)
		n.enqueue(c)
	}
}

// append adds an item to a leaf.
func (n *node[T]) append(i *Item[T]) {
	i.prev = n.last
	if n.last != nil {
		n.last.next = i
	} else {
		n.first = i
	}
	n.last = i
}

func (n *node[T]) remove(i *Item[T]) {
	if i.prev != nil {
		i.prev.next = i.next
	} else {
		n.first = i.next
	}
	if i.next != nil {
		i.next.prev = i.prev
	} else {
		n.last = i.prev
	}
	i.prev, i.next = nil, nil
}
