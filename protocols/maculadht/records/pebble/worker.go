package pebble

// worker is the goroutine that waits for the disk, so that the committer never does: it
// does one thing at a time. Where the disk hangs it stays behind in its system call, and
// ends when that returns.
type worker struct {
	jobs chan func() (then func())
	done chan func() // what the committer does when a job has been done
	busy bool
}

func newWorker() *worker {
	// There is room for what is last given to a worker that hangs, and for the ends of both.
	w := &worker{jobs: make(chan func() func(), 1), done: make(chan func(), 2)}
	go func() {
		for job := range w.jobs {
			w.done <- job()
		}
	}()
	return w
}

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
