package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The first signal stops; another one, or time, ends the process.
func TestUntilSignals(t *testing.T) {
	const hangs = time.Hour
	for name, test := range map[string]struct {
		signals map[time.Duration]os.Signal
		takes   time.Duration // the stop
		ended   time.Duration // when the process was ended; 0 for not
		want    string
	}{
		"a stop in time":         {map[time.Duration]os.Signal{0: os.Interrupt}, 2 * time.Second, 0, ""},
		"a second Ctrl-C":        {map[time.Duration]os.Signal{0: os.Interrupt, time.Second: os.Interrupt}, hangs, time.Second, "ended at once by a second signal (interrupt); not done: the store of records\n"},
		"SIGTERM after Ctrl-C":   {map[time.Duration]os.Signal{0: os.Interrupt, time.Second: syscall.SIGTERM}, hangs, time.Second, "second signal (terminated)"},
		"SIGTERM twice at once":  {map[time.Duration]os.Signal{0: syscall.SIGTERM, 1: syscall.SIGTERM}, 2 * time.Second, 0, ""},
		"twice, and once more":   {map[time.Duration]os.Signal{0: syscall.SIGTERM, 1: syscall.SIGTERM, time.Second: syscall.SIGTERM}, hangs, time.Second, "second signal (terminated)"},
		"another kind at once":   {map[time.Duration]os.Signal{0: os.Interrupt, 1: syscall.SIGTERM}, hangs, 1, "second signal (terminated)"},
		"SIGHUP beside SIGTERM":  {map[time.Duration]os.Signal{0: syscall.SIGTERM, 1: syscall.SIGHUP}, 2 * time.Second, 0, ""},
		"a stop that never ends": {map[time.Duration]os.Signal{0: syscall.SIGTERM, time.Second: syscall.SIGHUP}, hangs, stopTimeout, "ended, as it has not stopped within 5s; not done: the store of records\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				signals, done, stopped := make(chan os.Signal, 4), make(chan struct{}), make(chan struct{})
				var s stopping
				waitsFor(withStopping(t.Context(), &s), func() string { return "the store of records" })
				for at, signal := range test.signals {
					time.AfterFunc(at, func() { signals <- signal })
				}
				go func() {
					<-stopped
					time.Sleep(test.takes)
					close(done)
				}()
				var stderr buffer
				var ended time.Duration
				untilSignals(signals, done, func() { close(stopped) }, &s, &stderr, func(code int) {
					require.Equal(t, exitStopped, code)
					ended = time.Since(began)
				})
				require.Equal(t, test.ended, ended)
				if test.want == "" {
					require.Empty(t, stderr.String())
				} else {
					require.Contains(t, stderr.String(), test.want)
				}
				time.Sleep(2 * hangs) // until all has ended
			})
		})
	}
}

// A disk that fails at the stop is no peer that could not be reached.
func TestCodeOfAStopThatCouldNotDoAll(t *testing.T) {
	require.Equal(t, exitStopped, exitCode(fmt.Errorf("%w: %w", errUndone, errors.New("close store: the disk has not answered"))))
}
