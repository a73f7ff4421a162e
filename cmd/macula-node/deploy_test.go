package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v3"
	"go.yaml.in/yaml/v3"

	"github.com/macula-mesh/macula-node/cmd/macula-node/internal/settings"
)

// understood checks that a command line is one of the program, with flags that there are.
func understood(t *testing.T, args ...string) {
	t.Helper()
	app, acted := newApp(io.Discard, io.Discard), false
	app.Metadata = map[string]any{}
	each(app, func(c *cli.Command) {
		c.Action = func(_ context.Context, cmd *cli.Command) error {
			acted = true
			require.False(t, c.Name == "run" && cmd.Args().Present(), "%q", args)
			return nil
		}
	})
	require.NoError(t, knownCommand(app, append([]string{"macula-node"}, args...)))
	require.NoError(t, app.Run(t.Context(), append([]string{"macula-node"}, args...)), "%q", args)
	require.True(t, acted, "%q", args)
}

func deployed(t *testing.T, name ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, name...)...))
	require.NoError(t, err)
	return string(text)
}

// The systemd unit is what the program does: it says that it is ready, that it lives, what it
// is started by, and with which code it need not be started again.
func TestSystemdUnit(t *testing.T) {
	unit := deployed(t, "deploy", "systemd", "macula-node.service")
	set := make(map[string]string)
	for line := range strings.Lines(unit) {
		if key, value, is := strings.Cut(strings.TrimSpace(line), "="); is && !strings.HasPrefix(line, "#") {
			set[key] = value
		}
	}
	program, args, _ := strings.Cut(set["ExecStart"], " ")
	require.Equal(t, "/usr/local/bin/macula-node", program)
	understood(t, strings.Fields(args)...)
	require.Equal(t, "notify", set["Type"])
	require.NotEmpty(t, set["WatchdogSec"])
	require.Equal(t, "2", set["RestartPreventExitStatus"])
	require.Equal(t, exitUsage, 2)
	for line := range strings.Lines(unit) { // how its head says that it is configured
		if _, command, is := strings.Cut(line, "#   macula-node "); is {
			understood(t, strings.Fields(command)...)
		}
	}

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("systemd-analyze is not there to verify the unit")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "macula-node.service")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(unit, program, self)), 0o644))
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
	out, err = exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", file).CombinedOutput()
	require.NoError(t, err, "exposed more than 2.0: %s", out)
}

var interpolated = regexp.MustCompile(`\$\{[^}]*\}`)

func TestComposeFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "deploy", "compose", "*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			var compose struct {
				Services map[string]struct {
					Build       string
					Command     []string
					Environment map[string]string
					Ports       []string
					Volumes     []string
				}
				Volumes map[string]any
			}
			require.NoError(t, yaml.Unmarshal(text, &compose))
			require.NotEmpty(t, compose.Services)
			for name, s := range compose.Services {
				understood(t, s.Command...)
				require.Equal(t, "../..", s.Build, "where the Dockerfile is")
				for variable := range s.Environment {
					require.Contains(t, settings.Variables(), variable)
				}
				require.Len(t, s.Volumes, 1)
				volume, at, _ := strings.Cut(s.Volumes[0], ":")
				require.Contains(t, compose.Volumes, volume)
				require.Equal(t, "/data", at, "as the Dockerfile has it")
				for _, arg := range s.Command {
					if host, is := strings.CutPrefix(arg, "--bootstrap=https://"); is {
						host, port, _ := strings.Cut(host, ":")
						require.Contains(t, compose.Services, host)
						require.NotEqual(t, name, host)
						require.Equal(t, "9443", port)
					}
				}
			}
			for line := range strings.Lines(string(text)) { // what its head says to type
				if _, command, is := strings.Cut(line, " exec "); is && strings.HasPrefix(line, "#") {
					_, command, _ = strings.Cut(command, "macula-node ")
					args := strings.Fields(command)
					understood(t, args...)
				}
			}
			require.NotEmpty(t, interpolated.FindString(string(text)))
		})
	}
}

func TestDockerfile(t *testing.T) {
	text := deployed(t, "Dockerfile")
	exec := func(instruction string) []string {
		found := regexp.MustCompile(`(?m)^` + instruction + `.*?\[(.*)\]$`).FindStringSubmatch(text)
		require.NotNil(t, found, instruction)
		var args []string
		require.NoError(t, yaml.Unmarshal([]byte("["+found[1]+"]"), &args))
		return args
	}
	understood(t, exec("CMD")...)
	health := exec("HEALTHCHECK")
	require.Equal(t, exec("ENTRYPOINT")[0], health[0])
	understood(t, health[1:]...)
	require.Contains(t, text, "ENV "+settings.Flag("data-dir").(cli.DocGenerationFlag).GetEnvVars()[0]+"=/data\n")
	require.Contains(t, text, "VOLUME /data\n")
	require.Contains(t, text, "CGO_ENABLED=0 go build")
	require.Contains(t, text, "-X main.stamped=${VERSION}")
	require.Regexp(t, `(?m)^FROM \S*nonroot$`, text)
	required := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(deployed(t, "go.mod"))[1]
	require.Contains(t, text, "FROM golang:"+required+"-", "as go.mod wants")
}

func TestReleaseFiles(t *testing.T) {
	var release struct {
		Version int
		Builds  []struct {
			Main         string
			Env          []string
			Goos, Goarch []string
			Ldflags      []string
		}
		Checksum map[string]any
		Sboms    []map[string]any
	}
	require.NoError(t, yaml.Unmarshal([]byte(deployed(t, ".goreleaser.yaml")), &release))
	require.Len(t, release.Builds, 1)
	b := release.Builds[0]
	require.Equal(t, "./cmd/macula-node", b.Main)
	require.Equal(t, []string{"CGO_ENABLED=0"}, b.Env)
	require.Equal(t, []string{"linux", "darwin", "windows"}, b.Goos)
	require.Equal(t, []string{"amd64", "arm64"}, b.Goarch)
	require.Contains(t, b.Ldflags[0], "-X main.stamped={{ .Version }}")
	require.NotEmpty(t, release.Checksum)
	require.NotEmpty(t, release.Sboms)
	for _, target := range slices.Concat(b.Goos, b.Goarch) {
		require.Contains(t, deployed(t, ".ci", "run"), target, "it is built before a change lands")
	}
	var workflow map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(deployed(t, ".github", "workflows", "release.yaml")), &workflow))
	require.NotContains(t, deployed(t, ".github", "workflows", "release.yaml"), "secrets.")
}
