package fair

import (
	"container/list"
	"math"

	"github.com/macula-mesh/macula-node/internal/budget"
)

// Unlimited is as many at once as there are.
const Unlimited = math.MaxInt32 / keeps

// Payer is for whom something wants a place.
type Payer struct {
	Source budget.Source // the zero Source is this node itself
	For    string        // whom the source speaks for, as it says; empty for itself
}

// levels are how many a payer's names are: group, source and whom that speaks for.
const levels = 3

func (p Payer) path() [levels]string {
	group := p.Source.Group
	if group == "" { // it pays for itself only
		group = "\x00" + p.Source.Name
	}
	return [levels]string{group, p.Source.Name, p.For}
}

// Queue is a room of items, each with a weight. It is for one goroutine at a time.
type Queue[T any] struct {
	room, atOnce int
	root         *node[T]
}

// Item is what has a place in a Queue: it waits, and may be taken. All of it but Value is
// the queue's.
type Item[T any] struct {
	Value  T
	weight int
	leaf   *node[T] // nil once it has left
	taken  bool
	at     *list.Element // in the leaf's items, while it waits
}

// New returns an empty queue for a weight of at most room, of which atOnce items may be
// taken at a time, [Unlimited] for all. Both are 1 or more.
func New[T any](room, atOnce int) *Queue[T] {
	return &Queue[T]{room: max(room, 1), atOnce: min(max(atOnce, 1), Unlimited), root: &node[T]{}}
}

// Weight returns what all items weigh that wait.
func (q *Queue[T]) Weight() int { return q.root.weight }

// Add has an item wait, of a weight of 1 or more. Have others give way by GiveWay then.
func (q *Queue[T]) Add(by Payer, value T, weight int) *Item[T] {
	return q.add(by, value, weight, false)
}

// add is Add, behind all of the payer's or before them.
func (q *Queue[T]) add(by Payer, value T, weight int, before bool) *Item[T] {
	n := q.root
	for _, name := range by.path() {
		n = n.child(name)
	}
	i := &Item[T]{Value: value, weight: max(weight, 1), leaf: n}
	if before {
		i.at = n.items.PushFront(i)
	} else {
		i.at = n.items.PushBack(i)
	}
	n.weigh(i.weight)
	return i
}

// GiveWay takes an item from the queue where it weighs more than there is room, and
// returns nil where it does not: the newest, or the oldest, of who has most waiting. Where
// that is the payer of the item that came as well as another, it is the payer.
func (q *Queue[T]) GiveWay(came *Item[T], oldest bool) *Item[T] {
	if q.root.weight <= q.room {
		return nil
	}
	var own [levels]*node[T]
	if came != nil && came.leaf != nil {
		own[2] = came.leaf
		own[1] = own[2].parent
		own[0] = own[1].parent
	}
	n := q.root
	for level := range own {
		heaviest := n.heavy[0]
		if o := own[level]; o != nil && o.parent == n && o.weight >= heaviest.weight {
			heaviest = o
		}
		n = heaviest
	}
	e := n.items.Back()
	if oldest {
		e = n.items.Front()
	}
	i := e.Value.(*Item[T])
	q.Leave(i)
	return i
}

// Take takes the item whose turn it is. It stays among those that are taken at once until
// it leaves. There is none where nothing waits, or as many are taken as may be: of all, or
// of those who have something waiting. So that there is always a place for who has none,
// nobody has more than three times as many as are free.
func (q *Queue[T]) Take() *Item[T] {
	leaf := q.root.next(q.atOnce - q.root.taken)
	if leaf == nil {
		return nil
	}
	i := leaf.items.Remove(leaf.items.Front()).(*Item[T])
	i.taken = true
	leaf.weigh(-i.weight)
	for n := leaf; n != nil; n = n.parent {
		n.taken++
		if n.parent != nil && n.weight > 0 {
			n.parent.turns.MoveToBack(n.turn)
		}
	}
	return i
}

// Pop takes the item whose turn it is and has it leave.
func (q *Queue[T]) Pop() (value T, ok bool) {
	i := q.Take()
	if i == nil {
		return value, false
	}
	q.Leave(i)
	return i.Value, true
}

// Leave ends an item's place, be it waiting or taken. It reports false where it has left.
func (q *Queue[T]) Leave(i *Item[T]) bool {
	n := i.leaf
	if n == nil {
		return false
	}
	if i.taken {
		for at := n; at != nil; at = at.parent {
			at.taken--
		}
	} else {
		n.items.Remove(i.at)
		n.weigh(-i.weight)
	}
	i.leaf = nil
	for ; n.parent != nil && n.weight == 0 && n.taken == 0; n = n.parent {
		delete(n.parent.children, n.name)
	}
	return true
}
