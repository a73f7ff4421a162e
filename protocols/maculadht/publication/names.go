package publication

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// diskPatience is how long a publication, or its end, waits for the disk: one that hangs
// keeps no record from the network, nor Withdraw from returning.
const diskPatience = 5 * time.Second

// nameLocks has one change at a time be made to what is in the state under a name.
type nameLocks struct {
	mu   sync.Mutex
	held map[string]*nameLock
}

type nameLock struct {
	turn  chan struct{} // holds the token of who has it
	users int           // that have it or wait for it
}

// lock keeps others from changing what is in the state under a name, until unlock is
// called. It waits for whoever does so until ctx ends.
func (l *nameLocks) lock(ctx context.Context, name []byte) (unlock func(), err error) {
	l.mu.Lock()
	of := l.held[string(name)]
	if of == nil {
		of = &nameLock{turn: make(chan struct{}, 1)}
		l.held[string(name)] = of
	}
	of.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if of.users--; of.users == 0 {
			delete(l.held, string(name))
		}
	}
	select {
	case of.turn <- struct{}{}:
		return func() { <-of.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, fmt.Errorf("wait for an earlier change to end: %w", ctx.Err())
	}
}
