package fair

import "sync"

// Work is what waits in a Line. Its functions are called without locks, each once at most,
// and only one of the two: Begin when it has its turn, or Refused when it gave way to
// others. Begin must not wait: who is next waits for it. What has begun has its place
// until it leaves.
type Work struct {
	Payer          Payer
	Begin, Refused func()

	place *Item[*Work] // guarded by Line.mu
	left  bool         // the same
}

// Line begins work, so much at once, and what waits for that in turn. It is safe for
// concurrent use.
type Line struct {
	mu        sync.Mutex
	queue     *Queue[*Work]
	came      *Item[*Work] // the last, which gives way before others that have as much
	advancing bool
}

// NewLine returns a line that begins atOnce at a time, of which no more wait than are
// given.
func NewLine(atOnce, waiting int) *Line { return &Line{queue: New[*Work](waiting, atOnce)} }

// Enter has work begin when it has its turn, at once where nothing is before it.
func (l *Line) Enter(w *Work) {
	l.mu.Lock()
	entered := !w.left && w.place == nil
	if entered {
		w.place = l.queue.Add(w.Payer, w, 1)
		l.came = w.place
	}
	l.mu.Unlock()
	if entered {
		l.advance()
	}
}

// Leave ends a place, be it waiting or begun, or has it never be entered. What has left
// can leave again.
func (l *Line) Leave(w *Work) {
	l.mu.Lock()
	w.left = true
	was := w.place != nil && l.queue.Leave(w.place)
	l.mu.Unlock()
	if was {
		l.advance()
	}
}

// advance begins what has its turn, and has give way what is too much then. One at a time
// does: what another changes meanwhile is seen before that one ends.
func (l *Line) advance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.advancing {
		return
	}
	l.advancing = true
	for {
		var do func()
		if i := l.queue.Take(); i != nil {
			do = i.Value.Begin
		} else if i := l.queue.GiveWay(l.came, false); i != nil {
			i.Value.left = true
			do = i.Value.Refused
		} else {
			break
		}
		l.mu.Unlock()
		do()
		l.mu.Lock()
	}
	l.advancing, l.came = false, nil
}
