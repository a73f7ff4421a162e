package fair

import "sync"

// Once is work that is done once for all who want it. It waits in a Line in a place of
// each of them, and begins at the turn of the first that has one: nobody's waits behind
// what another has entered. It is safe for concurrent use.
type Once struct {
	line    *Line
	begin   func(leave func())
	refused func(by Payer)

	mu    sync.Mutex
	begun bool
	works map[Payer]*Work // that wait
}

// NewOnce returns work of a line. begin is called once, when it has its turn, with what
// ends its place there. refused is called where the place of a payer gave way to others,
// who may want it again; where it is nil nobody is told. Both are as those of a [Work].
func NewOnce(line *Line, begin func(leave func()), refused func(by Payer)) *Once {
	return &Once{line: line, begin: begin, refused: refused, works: make(map[Payer]*Work)}
}

// Want has a payer want it. Where it does already, or the work has begun, that changes
// nothing.
func (o *Once) Want(by Payer) {
	o.mu.Lock()
	if o.begun || o.works[by] != nil {
		o.mu.Unlock()
		return
	}
	w := &Work{Payer: by, Refused: func() { o.refuse(by) }}
	w.Begin = func() { o.beginAs(w) }
	o.works[by] = w
	o.mu.Unlock()
	o.line.Enter(w)
}

// Forget takes it from the line, unless it has begun: nobody wants it any more.
func (o *Once) Forget() {
	o.mu.Lock()
	works := o.works
	o.works = make(map[Payer]*Work)
	o.mu.Unlock()
	for _, w := range works {
		o.line.Leave(w)
	}
}

// beginAs begins it in one of its places, and gives up the others.
func (o *Once) beginAs(first *Work) {
	o.mu.Lock()
	already, works := o.begun, o.works
	o.begun, o.works = true, nil
	o.mu.Unlock()
	if already {
		o.line.Leave(first)
		return
	}
	for _, w := range works {
		if w != first {
			o.line.Leave(w)
		}
	}
	o.begin(func() { o.line.Leave(first) })
}

func (o *Once) refuse(by Payer) {
	o.mu.Lock()
	delete(o.works, by)
	o.mu.Unlock()
	if o.refused != nil {
		o.refused(by)
	}
}
