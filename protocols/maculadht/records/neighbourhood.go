package records

// Neighbourhood tells how near keys are to this node. It is safe for concurrent use, and
// returns at once.
type Neighbourhood interface {
	// Shared returns how many leading bits a key shares with this node's id, 0 to 256.
	Shared(key []byte) int
	// Bits returns how many leading bits keys share with this node's id that it may be
	// one of the nodes to keep, and 0 where that is not known. Keys that share fewer are
	// far.
	Bits() int
}

// SetNeighbourhood has n tell which keys are near: the far ones give way first, and are
// not taken from strangers where room is scarce ([ErrFar]). Until then, and where n is
// nil, all are equally near.
func (m *Manager) SetNeighbourhood(n Neighbourhood) {
	if n == nil {
		m.neighbourhood.Store(nil)
		return
	}
	m.neighbourhood.Store(&n)
}

func (m *Manager) shared(key []byte) int {
	if n := m.neighbourhood.Load(); n != nil {
		return (*n).Shared(key)
	}
	return 0
}

// isFar reports whether a key is far above this node's own neighbourhood.
func (m *Manager) isFar(key []byte) bool {
	n := m.neighbourhood.Load()
	return n != nil && (*n).Shared(key) < (*n).Bits()
}

// isScarce reports whether there is no plenty of room any more.
func (m *Manager) isScarce() bool { return m.ledger.Usage().Bytes > m.limits.Plenty }
