package fair

import "sync"

// Work is what waits in a Line. Its functions are called without locks, each once at most,
// and only one of the two: Begin when it has its turn, or Refused when it gave way to
// others. Neither may wait, who is next waits for it, nor enter the line. What has begun
// has its place until it leaves; one whose Begin panics has left.
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
	turn      sync.Cond // of those who enter while another advances
}

// NewLine returns a line that begins atOnce at a time, of which no more wait than are
// given.
func NewLine(atOnce, waiting int) *Line {
	l := &Line{queue: New[*Work](waiting, atOnce)}
	l.turn.L = &l.mu
	return l
}

// Enter has work begin when it has its turn, at once where nothing is before it. Who
// enters sees to what has its turn, be it of others, and waits while another does: so who
// enters without end is held up himself, and nobody has to do all his work.
func (l *Line) Enter(w *Work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.left || w.place != nil {
		return
	}
	w.place = l.queue.Add(w.Payer, w, 1)
	l.came = w.place
	for l.advancing {
		l.turn.Wait()
	}
	l.advance()
}

// Leave ends a place, be it waiting or begun, or has it never be entered. What has left
// can leave again.
func (l *Line) Leave(w *Work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.left = true
	if w.place != nil && l.queue.Leave(w.place) && !l.advancing { // else who advances sees it
		l.advance()
	}
}

// advance begins what has its turn, and has give way what is too much then. One at a time
// does, so that what one payer enters begins in that order; l.mu is held.
func (l *Line) advance() {
	l.advancing = true
	defer func() { // be it that something panics
		l.advancing = false
		l.turn.Signal()
	}()
	for {
		if i := l.queue.Take(); i != nil {
			l.do(i.Value, i.Value.Begin)
		} else if i := l.queue.GiveWay(l.came, false); i != nil {
			i.Value.left = true
			l.do(i.Value, i.Value.Refused)
		} else {
			l.came = nil
			return
		}
	}
}

// do calls what may panic; l.mu is held, but for the call.
func (l *Line) do(w *Work, f func()) {
	returned := false
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		if !returned {
			w.left = true
			l.queue.Leave(w.place)
		}
	}()
	f()
	returned = true
}
