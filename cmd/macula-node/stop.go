package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// stopTimeout is how long a stop may take, whatever hangs.
const stopTimeout = 5 * time.Second

// sameStop is how soon after the first signal another one of its kind is the same wish:
// timeout(1), and others, send one to the process and one to its group.
const sameStop = 100 * time.Millisecond

// errUndone ends a node that has stopped in its time, but could not do all.
var errUndone = errors.New("stopped, but not all was done")

// stopping says what a stop waits for.
type stopping struct {
	undone  atomic.Pointer[func() string]
	hangUps atomic.Pointer[chan struct{}] // which takes the SIGHUPs; nil where they stop the command
}

type stoppingKey struct{}

func withStopping(ctx context.Context, s *stopping) context.Context {
	return context.WithValue(ctx, stoppingKey{}, s)
}

// waitsFor has a command say what its stop waits for.
func waitsFor(ctx context.Context, undone func() string) {
	if s, ok := ctx.Value(stoppingKey{}).(*stopping); ok {
		s.undone.Store(&undone)
	}
}

// takeHangUps keeps SIGHUP from stopping a command, and returns where one comes instead;
// of several that nobody has taken yet one is left.
func takeHangUps(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	if s, ok := ctx.Value(stoppingKey{}).(*stopping); ok {
		s.hangUps.Store(&c)
	}
	return c
}

// tookHangUp hands a SIGHUP to the command, if it takes them.
func (s *stopping) tookHangUp(signal os.Signal) bool {
	c := s.hangUps.Load()
	if signal != syscall.SIGHUP || c == nil {
		return false
	}
	select {
	case *c <- struct{}{}:
	default:
	}
	return true
}

func (s *stopping) String() string {
	if undone := s.undone.Load(); undone != nil {
		if what := (*undone)(); what != "" {
			return what
		}
	}
	return "what was under way"
}

// untilSignals cancels on the first signal, and ends the process where it is asked to
// once more, or has not ended in time. It returns when done is closed.
func untilSignals(signals <-chan os.Signal, done <-chan struct{}, cancel func(), s *stopping, stderr io.Writer, exit func(code int)) {
	var first os.Signal
	for stops := false; !stops; {
		select {
		case first = <-signals:
			stops = !s.tookHangUp(first)
		case <-done:
			return
		}
	}
	cancel()
	began := time.Now()
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	for {
		select {
		case again := <-signals:
			if again == syscall.SIGHUP || // which comes beside another one where a terminal or a session ends
				again == first && time.Since(began) < sameStop {
				continue
			}
			fmt.Fprintf(stderr, "macula-node: ended at once by a second signal (%s); not done: %s\n", again, s)
			exit(exitStopped)
		case <-late.C:
			fmt.Fprintf(stderr, "macula-node: ended, as it has not stopped within %v; not done: %s\n", stopTimeout, s)
			exit(exitStopped)
		case <-done:
		}
		return
	}
}
