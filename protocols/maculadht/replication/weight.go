package replication

// byWeight is a heap, what has most records first.
type byWeight[T weighed] []T

type weighed interface {
	weight() int
	putAt(place int)
}

func (s *source) weight() int     { return s.records.Len() }
func (s *source) putAt(place int) { s.place = place }
func (g *group) weight() int      { return g.records }
func (g *group) putAt(place int)  { g.place = place }

func (w byWeight[T]) Len() int           { return len(w) }
func (w byWeight[T]) Less(i, j int) bool { return w[i].weight() > w[j].weight() }
func (w byWeight[T]) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].putAt(i)
	w[j].putAt(j)
}

// Push implements heap.Interface.
func (w *byWeight[T]) Push(x any) {
	x.(T).putAt(len(*w))
	*w = append(*w, x.(T))
}

// Pop implements heap.Interface.
func (w *byWeight[T]) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	var none T
	(*w)[last] = none
	*w = (*w)[:last]
	return x
}
