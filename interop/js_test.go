package interop

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	jsDir      = "js"
	jsDeadline = 2 * time.Minute // for all checks together
)

// TestJS has a js-libp2p peer check the program, and shows each of its checks as
// a subtest. Locally it downloads nothing: it is skipped until the packages are
// there. In CI it always runs.
func TestJS(t *testing.T) {
	node := jsRuntime(t)
	p := startProcess(t)
	neighbour := startProcess(t, "--bootstrap", p.Addrs[0])
	requireKnows(t, p, neighbour)

	scripts, err := filepath.Glob(filepath.Join(jsDir, "*.js"))
	require.NoError(t, err)
	for _, script := range scripts { // go test runs anew what it saw read and has changed
		_, err := os.Stat(script)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), jsDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test-reporter=tap", "check.js", p.Addrs[0], testRealm, neighbour.Addrs[0])
	cmd.Dir = jsDir
	cmd.WaitDelay = patience
	out, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err(), "the checks took longer than %s:\n%s", jsDeadline, out)

	checks := parseTAP(string(out))
	require.NotEmpty(t, checks, "no check ran: %v\n%s", err, out)
	failed := false
	for _, check := range checks {
		failed = failed || !check.ok
		t.Run(check.name, func(t *testing.T) {
			require.True(t, check.ok, check.detail)
		})
	}
	if !failed {
		require.NoError(t, err, "all checks hold, but the script failed:\n%s", out)
		require.Equal(t, len(checks), planned(string(out)), "not all checks ran:\n%s", out)
	}
}

// TestJSLock keeps addresses to download from out of the lock file: they are the
// business of who installs.
func TestJSLock(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(jsDir, "package-lock.json"))
	require.NoError(t, err)
	var lock struct {
		Packages map[string]struct{ Resolved string }
	}
	require.NoError(t, json.Unmarshal(b, &lock))
	require.NotEmpty(t, lock.Packages)
	for name, p := range lock.Packages {
		require.Empty(t, p.Resolved, "%s: npm writes it where omit-lockfile-registry-resolved is not set", name)
	}
}

// jsRuntime returns the path of node once the script's packages are installed.
func jsRuntime(t *testing.T) string {
	t.Helper()
	const install = "npm ci --prefix interop/js"
	ci := os.Getenv("CI") == "true"
	node, err := exec.LookPath("node")
	if err != nil {
		if ci {
			require.NoError(t, err, "CI has the js-libp2p checks run: install Node 20.19 or newer, with npm")
		}
		t.Skip("no node: install Node 20.19 or newer, then", install)
	}
	if _, err := os.Stat(filepath.Join(jsDir, "node_modules", ".package-lock.json")); err == nil {
		return node
	}
	if !ci {
		t.Skip("the packages of the js-libp2p checks are not installed:", install)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci")
	cmd.Dir = jsDir
	cmd.WaitDelay = patience
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s:\n%s", install, out)
	return node
}

// requireKnows waits until a process lists another.
func requireKnows(t *testing.T, p, other *process) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		listed, _ := cli(t, "find-node", "--json", p.Addrs[0], other.NodeID)
		if strings.Contains(listed, other.PeerID) {
			return
		}
		require.True(t, time.Now().Before(deadline), "%s is not among what %s knows: %s", other.PeerID, p.PeerID, listed)
	}
}

// tapCheck is a check as the Test Anything Protocol reports it.
type tapCheck struct {
	name   string
	ok     bool
	detail string // the lines after it
}

var (
	tapLine = regexp.MustCompile(`^(not )?ok \d+ - (.*)$`)
	tapPlan = regexp.MustCompile(`(?m)^1\.\.(\d+)$`)
)

// parseTAP returns the outermost checks of a report.
func parseTAP(report string) []tapCheck {
	var checks []tapCheck
	for line := range strings.Lines(report) {
		if m := tapLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			checks = append(checks, tapCheck{name: m[2], ok: m[1] == ""})
		} else if n := len(checks); n > 0 {
			checks[n-1].detail += line
		}
	}
	return checks
}

// planned returns how many checks a report says it has, -1 without a plan.
func planned(report string) int {
	m := tapPlan.FindStringSubmatch(report)
	if m == nil {
		return -1
	}
	n, _ := strconv.Atoi(m[1])
	return n
}
