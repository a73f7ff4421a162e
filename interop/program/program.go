// Package program builds macula-node and runs it as a process, for tests.
package program

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Patience is how long a process has to serve, and to stop.
const Patience = 10 * time.Second

// Build builds macula-node into a directory, and returns where it is. The linked program
// is cached, as that of go run is: who builds it next has only to copy it.
func Build(dir string) (path string, err error) {
	path = filepath.Join(dir, "macula-node")
	out, err := exec.Command("go", "run", "-exec", "cp", "github.com/macula-mesh/macula-node/cmd/macula-node", path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build macula-node: %w\n%s", err, out)
	}
	return path, nil
}

// Process is a running macula-node: what it said once it served.
type Process struct {
	PeerID    string   `json:"peer_id"`
	NodeID    string   `json:"node_id"`
	Realm     string   `json:"realm"`
	Addrs     []string `json:"addrs"`
	Endpoints []string `json:"endpoints"`

	// PID is its process id.
	PID int `json:"-"`

	cmd    *exec.Cmd
	logged Output
	ended  chan error // has how the process ended
	over   sync.Once
	err    error
}

// Run has the program at path serve by "run" and more arguments. The command is started by
// start, (*exec.Cmd).Start for nil. The error has what it logged.
func Run(path string, start func(*exec.Cmd) error, args ...string) (*Process, error) {
	if start == nil {
		start = (*exec.Cmd).Start
	}
	p := &Process{cmd: exec.Command(path, append([]string{"run", "--json"}, args...)...), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), "MACULA_HOSTNAME=", "MACULA_API=off") // one of many on this machine
	p.cmd.Stderr = &p.logged
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	p.PID = p.cmd.Process.Pid
	lines := make(chan string, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(out)
		if scanner.Scan() {
			lines <- scanner.Text()
		}
		for scanner.Scan() { // nothing else is expected, but the pipe must not fill
		}
		p.ended <- p.cmd.Wait()
	}()
	select {
	case line, serves := <-lines:
		if !serves {
			p.Kill()
			return nil, fmt.Errorf("the program has ended; it logged:\n%s", p.Log())
		}
		if err := json.Unmarshal([]byte(line), p); err != nil {
			p.Kill()
			return nil, fmt.Errorf("the line of --json %q: %w", line, err)
		}
	case <-time.After(Patience):
		p.Kill()
		return nil, fmt.Errorf("the program does not serve in %v; it logged:\n%s", Patience, p.Log())
	}
	return p, nil
}

// UDP returns the first address that the process listens on.
func (p *Process) UDP() (netip.AddrPort, error) {
	if len(p.Endpoints) == 0 {
		return netip.AddrPort{}, errors.New("the program has no endpoint")
	}
	return netip.ParseAddrPort(strings.TrimPrefix(p.Endpoints[0], "https://"))
}

// Log returns what the process has logged so far.
func (p *Process) Log() string { return p.logged.String() }

// Stop has the process stop in order. The error says where it did not, with what it logged.
// Only the first Stop or Kill does anything.
func (p *Process) Stop() error {
	p.over.Do(func() {
		p.err = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-p.ended:
			p.err = errors.Join(p.err, err)
		case <-time.After(Patience):
			p.err = errors.Join(p.err, errors.New("did not stop on SIGTERM"), p.cmd.Process.Kill(), <-p.ended)
		}
		if p.err != nil {
			p.err = fmt.Errorf("end of the program: %w; it logged:\n%s", p.err, p.Log())
		}
	})
	return p.err
}

// Kill ends the process at once, as kill -9 does.
func (p *Process) Kill() {
	p.over.Do(func() {
		_ = p.cmd.Process.Kill() // it may have ended by itself
		<-p.ended
	})
}

// Output gathers what a process writes.
type Output struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements [io.Writer].
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// String returns what was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
