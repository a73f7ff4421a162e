package docs

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// script is a testscript made of a page's blocks.
type script struct {
	t       *testing.T
	dir     string
	ports   map[string]string // those of the page, and what stands in their place
	steps   []string
	running []string // the commands that go on until they are interrupted
	asked   bool     // whether the next console block is what the last command prints
	output  string   // where the last command prints, if it goes on
	prints  bool     // whether it does by itself, as run and serve
	waiting string   // OUTPUT and PATTERN of one that waits for what the next command does
}

func newScript(t *testing.T) *script {
	return &script{t: t, dir: t.TempDir(), ports: map[string]string{}}
}

// lasting are the commands that go on until they are interrupted; each has a terminal of its own.
var lasting = regexp.MustCompile(`\bmacula-node (run|serve|subscribe|watch|events)\b`)

// add adds a block.
func (s *script) add(b block) {
	if why, skip := b.note("not run"); skip {
		require.NotEmpty(s.t, why)
		return
	}
	if line, ok := b.note("beside"); ok {
		s.lasting(line)
		defer s.interrupt(len(s.running) - 1)
	}
	typed, printed := b.commands()
	var lines []string
	for _, line := range typed {
		if !strings.HasPrefix(line, "go test") && !strings.HasPrefix(line, ".ci/") {
			lines = append(lines, strings.ReplaceAll(line, "go run ./cmd/macula-node", "macula-node"))
		}
	}
	switch shell := strings.Join(lines, "\n"); {
	case len(typed) == 0 && b.lang == "console":
		if s.asked {
			s.shown(printed)
		}
		return
	case len(lines) == 0:
		return
	case lasting.MatchString(shell):
		s.lasting(shell)
	default:
		s.run(shell)
	}
	s.asked = true
	if printed != nil {
		s.shown(printed)
	}
}

// run adds commands that end.
func (s *script) run(shell string) {
	s.output = ""
	path := s.file("sh", "set -e\n"+s.withPorts(shell)+"\n")
	if s.waiting != "" {
		s.steps = append(s.steps, "until "+s.waiting+" "+path)
		s.waiting = ""
		return
	}
	s.steps = append(s.steps, "exec sh "+path)
}

// lasting adds a command that goes on.
func (s *script) lasting(shell string) {
	at := lasting.FindStringSubmatchIndex(shell)
	verb := shell[at[2]:at[3]]
	if verb == "run" && !strings.Contains(shell, "--listen") {
		port := "9443"
		if m := regexp.MustCompile(` --port (\d+)`).FindStringSubmatch(shell); m != nil {
			port = m[1]
			shell = strings.Replace(shell, m[0], "", 1)
		}
		shell = shell[:at[1]] + " --listen /ip4/127.0.0.1/udp/" + port + "/quic-v1" + shell[at[1]:]
	}
	name := fmt.Sprintf("t%d", len(s.steps))
	s.output = s.path("out")
	shell = shell[:at[0]] + "exec " + shell[at[0]:] + " >" + s.output
	s.steps = append(s.steps, fmt.Sprintf("exec sh %s &%s&", s.file("sh", s.withPorts(shell)+"\n"), name))
	s.running = append(s.running, name)
	s.prints = verb == "run" || verb == "serve"
	if verb == "run" {
		s.steps = append(s.steps, "awaits "+s.output+" "+s.file("want", "…\nCtrl-C stops it."))
	}
}

// shown adds what the last command prints.
func (s *script) shown(lines []string) {
	s.asked = false
	pattern := s.file("want", strings.Join(lines, "\n"))
	switch {
	case s.output == "":
		s.steps = append(s.steps, "prints "+pattern)
	case s.prints:
		s.steps = append(s.steps, "awaits "+s.output+" "+pattern)
	default:
		s.waiting = s.output + " " + pattern
	}
}

func (s *script) path(kind string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d.%s", len(s.steps), kind))
}

func (s *script) file(kind, content string) string {
	path := s.path(kind)
	require.NoError(s.t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// interrupt ends the commands that go on, down to the one that began as number first.
func (s *script) interrupt(first int) {
	for i := len(s.running) - 1; i >= first; i-- {
		s.steps = append(s.steps, "kill -INT "+s.running[i], "wait "+s.running[i])
	}
	s.running = s.running[:first]
}

// write writes the script, which in the end interrupts what goes on.
func (s *script) write() string {
	s.interrupt(0)
	return s.file("txtar", strings.Join(s.steps, "\n")+"\n")
}

// withPorts puts free ports in place of those of the page.
func (s *script) withPorts(line string) string {
	return regexp.MustCompile(`\b94\d\d\b`).ReplaceAllStringFunc(line, func(was string) string {
		if s.ports[was] == "" {
			c, err := net.ListenPacket("udp4", "127.0.0.1:0")
			require.NoError(s.t, err)
			defer c.Close()
			_, s.ports[was], err = net.SplitHostPort(c.LocalAddr().String())
			require.NoError(s.t, err)
		}
		return s.ports[was]
	})
}
