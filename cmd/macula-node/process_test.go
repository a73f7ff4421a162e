package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ownProcess runs the program as one on a data directory.
type ownProcess struct {
	*exec.Cmd
	stdout, stderr buffer
	ended          chan error
	stop           bool // it was told to
}

func startProcess(t *testing.T, data string, args ...string) *ownProcess {
	t.Helper()
	p := &ownProcess{Cmd: exec.Command(os.Args[0], append([]string{"run", "--data-dir", data, "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}, args...)...), ended: make(chan error, 1)}
	p.Env = append(os.Environ(), beMain+"=1")
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() })
	go func() { p.ended <- p.Wait() }()
	return p
}

func (p *ownProcess) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	require.NoError(t, p.Process.Signal(signal))
}

// endedWithin checks that the process ends in time, and returns its exit code.
func (p *ownProcess) endedWithin(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		require.Fail(t, "does not end", "%s%s", p.stdout.String(), p.stderr.String())
	}
	return p.ProcessState.ExitCode()
}

// process runs "run" as a process of its own, which is stopped in order with the test, and
// returns what --json says too.
func process(t *testing.T, args ...string) (*ownProcess, serving) {
	t.Helper()
	p := startProcess(t, t.TempDir(), append([]string{"--json"}, args...)...)
	t.Cleanup(func() { p.stopped(t) })
	waitFor(t, "the line of --json", func() bool { return strings.HasSuffix(p.stdout.String(), "\n") })
	var s serving
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &s), p.stdout.String())
	return p, s
}

// stopped stops the process, which has run until now, and waits for its end in order.
func (p *ownProcess) stopped(t *testing.T) {
	t.Helper()
	if p.stop {
		return
	}
	p.stop = true
	assert.NoError(t, p.Process.Signal(syscall.SIGTERM), p.stderr.String())
	assert.Zero(t, p.endedWithin(t, patience), p.stderr.String())
}

// logs waits for a text in what the process logs.
func (p *ownProcess) logs(t *testing.T, text string) {
	t.Helper()
	waitFor(t, "the log of it", func() bool { return strings.Contains(p.stderr.String(), text) })
}
