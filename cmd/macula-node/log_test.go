package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/macula-mesh/macula-node/internal/logs"
	"github.com/macula-mesh/macula-node/internal/logs/early"
)

// TestUnreadableLevel: of a level in the environment that can not be read there is
// one error, ours, with nothing of go-log's or libp2p's before it; a command that
// has no logs minds none.
func TestUnreadableLevel(t *testing.T) {
	program := func(args ...string) (string, error) {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), beMain+"=1", early.Variable+"=junk,info")
		var stderr buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		return stderr.String(), err
	}
	stderr, err := program("run", "--data-dir", t.TempDir())
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, exitUsage, exit.ExitCode())
	assert.Regexp(t, `^macula-node: --log-level \(GOLOG_LOG_LEVEL\) "junk,info": "junk" is not [^\n]*\n$`, stderr)

	stderr, err = program("id", "--data-dir", t.TempDir())
	assert.NoError(t, err)
	assert.Empty(t, stderr)
}

// TestBrokenPipe: a command ends with the one that it is piped into, as others do;
// run first stops in order.
func TestBrokenPipe(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals there")
	}
	start := func(args ...string) (*exec.Cmd, *os.File) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), beMain+"=1")
		cmd.Stdout = w
		if args[0] != "run" {
			r.Close() // nobody ever reads
		}
		require.NoError(t, cmd.Start())
		w.Close()
		return cmd, r
	}
	cmd, _ := start("id", "--data-dir", t.TempDir())
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, syscall.SIGPIPE, exit.Sys().(syscall.WaitStatus).Signal())

	cmd, out := start("run", "--data-dir", t.TempDir(), "--listen", "/ip4/127.0.0.1/udp/0/quic-v1")
	defer cmd.Process.Kill()
	banner := make([]byte, 1<<10)
	var got string
	for !strings.Contains(got, "Ctrl-C stops it.") {
		n, err := out.Read(banner)
		require.NoError(t, err, got)
		got += string(banner[:n])
	}
	out.Close()
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	assert.NoError(t, cmd.Wait(), "it stops in order, and then ends with 0")
}

// TestKnownSubsystems: each logger of the libraries in this program has a name that
// a level may be given for.
func TestKnownSubsystems(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-deps", "-json=Dir,GoFiles,Standard", ".")
	out, err := list.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, list.Start())
	known := logs.Known()
	logger := regexp.MustCompile(`(?m)^(?:var )?\s*\w+\s*=\s*(?:logging|golog|gologshim|log|logger)\.Logger\("([^"]+)"\)`)
	found := 0
	for dec := json.NewDecoder(out); ; {
		var p struct {
			Dir      string
			GoFiles  []string
			Standard bool
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
		if p.Standard {
			continue
		}
		for _, file := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, file))
			require.NoError(t, err)
			for _, m := range logger.FindAllSubmatch(src, -1) {
				found++
				assert.Contains(t, known, string(m[1]), "logs.Known does not have it: %s", filepath.Join(p.Dir, file))
			}
		}
	}
	require.NoError(t, list.Wait())
	assert.Greater(t, found, 20)
}
