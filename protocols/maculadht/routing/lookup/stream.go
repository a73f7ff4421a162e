package lookup

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/macula-mesh/macula-node/protocols/maculadht/routing/lookup/found"
)

// Stream is [Lookups.Search] that yields each value as a holder answers, this node's
// own first. Of one provider a value comes again only if it is fresher: if it is proved
// and the one before was not, was sealed later, or lives longer by more than the two
// seconds by which copies may differ. The quorum ends the
// lookup, as does breaking out of the loop, which leaves nothing running. If there
// is an error it comes last, without a value.
//
// The lookup does not wait for the loop. Its OnValues is called too, by another
// goroutine.
func (l *Lookups) Stream(ctx context.Context, how Search) iter.Seq2[FoundValue, error] {
	return func(yield func(FoundValue, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var search sync.WaitGroup
		defer search.Wait()
		defer cancel()

		q := queue{wake: make(chan struct{}, 1)}
		also := how.OnValues
		how.OnValues = func(values []FoundValue) {
			if also != nil {
				also(values)
			}
			q.add(values)
		}
		done := make(chan error, 1)
		search.Go(func() {
			_, err := l.Search(ctx, how)
			done <- err
		})
		for {
			var err error
			over := false
			select {
			case <-q.wake:
			case err = <-done:
				over = true
			}
			for _, v := range q.take() {
				if !yield(v, nil) {
					return
				}
			}
			if over {
				if err != nil {
					yield(FoundValue{}, err)
				}
				return
			}
		}
	}
}

// queue holds values that are to be yielded. It is safe for concurrent use.
type queue struct {
	wake chan struct{} // has a token while there are some

	mu      sync.Mutex
	seen    found.Merger
	waiting found.Merger
}

func (q *queue) add(values []FoundValue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, v := range values {
		if q.seen.IsFresher(v) {
			q.seen.Add(v)
			q.waiting.Add(v)
		}
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() []FoundValue {
	q.mu.Lock()
	defer q.mu.Unlock()
	values := q.waiting.Values(time.Now())
	q.waiting = found.Merger{}
	return values
}
