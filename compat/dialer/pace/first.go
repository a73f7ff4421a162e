package pace

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// First returns what came of asking the first of some addresses that answers; each
// next one is asked stagger after the one before it, or once that failed. It waits
// for those that are still being asked, whose ctx ends.
func First[T any](ctx context.Context, stagger time.Duration, addrs []netip.AddrPort, ask func(context.Context, netip.AddrPort) (T, error)) (first T, err error) {
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		value T
		err   error
	}
	results := make(chan result, len(addrs))
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	next := time.NewTimer(0)
	defer next.Stop()
	var errs error
	for begun, failed := 0, 0; failed < len(addrs); {
		select {
		case <-next.C:
			addr := addrs[begun]
			asked.Go(func() {
				value, err := ask(ctx, addr)
				results <- result{value, err}
			})
			if begun++; begun < len(addrs) {
				next.Reset(stagger)
			}
		case r := <-results:
			if r.err == nil {
				return r.value, nil
			}
			errs = errors.Join(errs, r.err)
			if failed++; begun < len(addrs) {
				next.Reset(0)
			}
		}
	}
	return first, errs
}
