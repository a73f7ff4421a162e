package fair

import (
	"container/heap"
	"container/list"
)

// node is a payer's name on one level. It is there as long as something of it waits or is
// taken, and among its parent's turns and heavy as long as something waits.
type node[T any] struct {
	name     string
	parent   *node[T] // nil for the root
	children map[string]*node[T]

	weight, taken int
	heavy         heaviest[T] // the children with a weight
	at            int         // in the parent's heavy

	turns list.List     // of *node[T]: the children with a weight, in the order of their turns
	turn  *list.Element // in the parent's turns

	items list.List // of *Item[T]: those of a leaf that wait, the oldest first
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

// next returns the leaf whose turn it is, nil for none, where so many places are free.
func (n *node[T]) next(free int) *node[T] {
	if free <= 0 {
		return nil
	}
	if n.items.Len() > 0 {
		return n
	}
	for e := n.turns.Front(); e != nil; e = e.Next() {
		c := e.Value.(*node[T])
		left := min(free, keeps*free-c.taken)
		if c.taken == 0 { // who has none is never kept waiting for a place that is free
			left = max(left, 1)
		}
		if leaf := c.next(left); leaf != nil {
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
			heap.Push(&p.heavy, n)
			n.turn = p.turns.PushBack(n)
		case n.weight == 0:
			heap.Remove(&p.heavy, n.at)
			p.turns.Remove(n.turn)
		default:
			heap.Fix(&p.heavy, n.at)
		}
	}
}

// heaviest is a heap of nodes, the heaviest first, for container/heap.
type heaviest[T any] []*node[T]

func (h heaviest[T]) Len() int           { return len(h) }
func (h heaviest[T]) Less(i, j int) bool { return h[i].weight > h[j].weight }

func (h heaviest[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *heaviest[T]) Push(n any) {
	n.(*node[T]).at = len(*h)
	*h = append(*h, n.(*node[T]))
}

func (h *heaviest[T]) Pop() any {
	end := len(*h) - 1
	n := (*h)[end]
	(*h)[end] = nil
	*h = (*h)[:end]
	return n
}
