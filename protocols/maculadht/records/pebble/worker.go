package pebble

// worker is the goroutine that waits for the disk, so that the committer never does: it
// does one thing at a time. Where the disk hangs it stays behind in its system call, and
// ends when that returns.
type worker struct {
	jobs chan func() (then func())
	done chan func() // what the committer does when a job has been done
	busy bool

	applied chan applied // batches that wait to be synced, in order
	synced  chan applied // and those that have been
}

// maxFlights is how many batches are committed at the same time: all that were applied
// while one is synced share the sync that follows.
const maxFlights = 16

// applied is a batch that the database has, or why it has not.
type applied struct {
	b   *batch
	err error
}

func newWorker() *worker {
	// There is room for what is last given to a worker that hangs, and for the ends of both.
	w := &worker{
		jobs: make(chan func() func(), 1), done: make(chan func(), 2),
		applied: make(chan applied, 2*maxFlights), synced: make(chan applied, 2*maxFlights),
	}
	go func() {
		for job := range w.jobs {
			w.done <- job()
		}
		close(w.applied)
	}()
	go func() {
		for a := range w.applied {
			if a.err == nil && a.b.synced {
				a.err = a.b.db.SyncWait(a.b.write)
			}
			w.synced <- a
		}
	}()
	return w
}

// sync has a batch that was applied be waited for, behind those before it.
func (w *worker) sync(b *batch, err error) { w.applied <- applied{b, err} }

// do has the worker, which must not be busy, do something.
func (w *worker) do(job func() (then func())) {
	w.busy = true
	w.jobs <- job
}

// last has the worker do something more, and then end.
func (w *worker) last(job func() (then func())) {
	w.busy = true
	w.jobs <- job
	close(w.jobs)
}
